"""Partition audits: what a stream declares of a day as a whole, evaluated over its staged rows before they are seen."""
