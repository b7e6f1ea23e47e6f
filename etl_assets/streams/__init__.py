"""Streams: where users of the project work, one file per stream, grouped by source.

The vocabulary that a stream file is written in is `etl_assets.streams.base`.
"""
