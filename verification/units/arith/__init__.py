"""Benches of the arithmetic units against the golden model, numpy and an independent soft-float library."""
