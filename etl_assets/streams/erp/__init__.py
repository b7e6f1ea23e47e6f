"""Streams of the ERP's database, one file per stream."""
