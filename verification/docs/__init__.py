"""Tests of the documentation: its examples run, its generated parts are complete."""
