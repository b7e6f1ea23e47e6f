"""Tests of the stream vocabulary, of parsing and of discovery."""
