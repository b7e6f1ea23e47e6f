"""Tests with a real model; run by `make test-embed`."""
