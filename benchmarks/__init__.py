"""Benchmarks of the main job: measured, never asserted.

What belongs here: running the real command line against the demo source and writing down what it took. What does not:
tests; a slow machine breaks nothing here.
"""
