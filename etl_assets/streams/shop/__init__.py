"""Streams of the shop's API, one file per stream."""
