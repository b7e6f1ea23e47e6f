"""Whether the channels can be used: asked at start, by `etl-assets doctor` and by `etl-assets alerts test`."""

from __future__ import annotations

from collections.abc import Iterator

from etl_assets.alerts.channels.registry import open_channel
from etl_assets.alerts.rules import Rules
from etl_assets.failures import EtlError
from etl_assets.settings import Settings


def channel_problems(settings: Settings, rules: Rules) -> Iterator[str]:
    """Try every channel without telling anybody anything; gives one line for each that cannot be used.

    Args:
        settings: Where the secrets are.
        rules: The channels.
    """
    for name in rules.channels:
        try:
            open_channel(settings, rules, name).check()
        except EtlError as error:
            yield f"channel {name}: {' '.join(str(error).split())}"
