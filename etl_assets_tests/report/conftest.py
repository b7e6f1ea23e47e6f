"""What the tests of the report start from: planted trouble, read once."""

from __future__ import annotations

import pytest

from etl_assets.report.facts import Facts
from etl_assets.report.page import render
from etl_assets.settings import Settings
from etl_assets_tests.report.planted import Page, facts_of, plant


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder in which days went wrong; nobody changes it."""
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def facts(planted: Settings) -> Facts:
    """What a report tells of it."""
    return facts_of(planted)


@pytest.fixture(scope="session")
def html(facts: Facts) -> str:
    """The page."""
    return render(facts)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    """The page, read."""
    return Page.of(html)
