"""Tests of the way of partitions from landing to commit."""
