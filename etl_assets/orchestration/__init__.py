"""Orchestration: the pipeline as Dagster assets, checks, partitions, jobs and schedules, one concept a module."""
