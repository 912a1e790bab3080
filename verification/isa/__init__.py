"""Tests of the contract as data: encodings, issue, container, checker."""
