"""Amaranth description of the machine: what does happen."""
