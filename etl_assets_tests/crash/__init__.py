"""Tests that kill loading processes."""
