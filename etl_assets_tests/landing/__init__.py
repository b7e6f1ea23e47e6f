"""Tests of the landing store."""
