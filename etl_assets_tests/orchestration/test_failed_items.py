"""Failed items in Dagster: a number to plot, and a choice for streams of documents alone."""

from __future__ import annotations

import pytest

from etl_assets.orchestration.failed_items import RETRY_FAILED, retry_config
from etl_assets.orchestration.keys import Layer
from etl_assets.orchestration.outcome_events import materialization_metadata
from etl_assets.outcomes import Counts
from etl_assets_tests.cli.outcomes import outcome
from etl_assets_tests.sources.library import papers
from etl_assets_tests.warehouse.samples import LINES


@pytest.mark.parametrize(("failed", "shown"), [(0, None), (3, 3)])
def test_failed_items_are_plotted(failed: int, shown: int | None) -> None:
    found = materialization_metadata(Layer.RAW, outcome(counts=Counts(extracted=9, failed_items=failed)))
    assert getattr(found.get("failed_items"), "value", None) == shown


def test_only_documents_can_be_asked_for_again() -> None:
    assert retry_config(LINES) == {}
    field = retry_config(papers())[RETRY_FAILED]
    assert field.default_value == "none"
