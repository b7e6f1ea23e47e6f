"""Dagster resources: the source's API, the warehouse, and the progress of a run."""
