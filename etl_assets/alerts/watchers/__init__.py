"""Watchers that need no Dagster: what the warehouse's bookkeeping and the state files say."""
