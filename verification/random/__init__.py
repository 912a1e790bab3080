"""Constrained-random legal Programs."""
