"""Observability: structured logs and progress."""
