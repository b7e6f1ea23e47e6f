"""Tests of etl_assets; the folders mirror its rooms. Shared fixtures stand in ``conftest.py``."""
