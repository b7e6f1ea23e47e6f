"""Tests of contracts and of splitting rows by them."""
