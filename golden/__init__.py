"""NumPy model of the machine: what must happen."""
