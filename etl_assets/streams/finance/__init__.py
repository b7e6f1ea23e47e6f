"""Streams of the finance department's files, one file per stream."""
