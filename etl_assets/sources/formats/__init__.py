"""File formats: from the bytes of one file to its records.

What belongs here: one module per format. What does not: where files are, and when they may be read
(`etl_assets.sources.files`).
"""
