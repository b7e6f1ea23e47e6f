"""Tests of the whole way: over real HTTP, into a real warehouse, recorded in a real Dagster instance."""
