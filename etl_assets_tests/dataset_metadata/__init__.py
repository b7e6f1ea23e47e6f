"""Tests of reading metadata of datasets."""
