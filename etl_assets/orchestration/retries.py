"""How a step is repeated: exponential backoff with jitter. Which days are redone is decided by class of failure."""

from __future__ import annotations

import dagster as dg

from etl_assets.settings import Settings


def step_retry_policy(settings: Settings) -> dg.RetryPolicy:
    """Give the policy of every step.

    Dagster waits `(2^n - 1) * delay` seconds before the n-th repeat: with 5 s that is 5, 15 and 35 s, give or take the
    jitter. A step fails with `allow_retries=False` when no failure in it may pass by itself.
    """
    return dg.RetryPolicy(
        max_retries=settings.step_retries,
        delay=settings.step_retry_delay,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )
