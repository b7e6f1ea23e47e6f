"""Tests of the catalogue of marts."""
