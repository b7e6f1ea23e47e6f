"""Tests of what the command line reads and shows."""
