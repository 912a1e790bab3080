"""Deliberate faults in the RTL: each must turn a check red."""
