"""Proving that RTL and golden model agree."""
