"""Making the RTL run: builds of simulators, and one interface to run Programs on RTL and golden model."""
