"""Fixtures of the tests of the whole way: a clean environment, the command in process, a scripted shop, real days."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import RunningSource, SpawnedSource, running_source, spawn_source
from etl_assets.settings import Settings, load_settings
from etl_assets_tests.integration.commands import Finished, clean_environment
from etl_assets_tests.integration.reference import build_reference
from etl_assets_tests.integration.shops import ScriptedShop

LINES_PER_DAY = 60
AFTER_THE_YEAR = "2011-12-20T00:00:00Z"

Etl = Callable[..., Finished]
Use = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Start without any setting, and leave none behind: the command names Dagster's folder in the environment."""
    before = dict(os.environ)
    cleaned = clean_environment({})
    os.environ.clear()
    os.environ.update(cleaned)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def use(environment_of: Callable[..., dict[str, str]]) -> Use:
    """Points this process at a source and a data folder, and gives the settings."""

    def point(source: RunningSource | None = None, folder: str = "data", **more: str) -> Settings:
        variables = clean_environment(environment_of(source, folder, **more))
        os.environ.clear()
        os.environ.update(variables)
        return load_settings()

    return point


@pytest.fixture
def etl(capsys: pytest.CaptureFixture[str]) -> Etl:
    """Runs a command line in this process."""

    def call(*arguments: str) -> Finished:
        capsys.readouterr()
        exit_code = run(list(arguments))
        said = capsys.readouterr()
        return Finished(exit_code, said.out, said.err)

    return call


@pytest.fixture
def shop() -> ScriptedShop:
    """A small generated shop whose days can be made to misbehave one by one."""
    return ScriptedShop(GeneratedShop(seed=3, lines_per_day=LINES_PER_DAY))


@pytest.fixture
def scripted(shop: ScriptedShop) -> Iterator[RunningSource]:
    """The scripted shop, served, its clock long after the days that tests load."""
    with running_source(shop, clock=Clock(fixed=parse_time("2025-03-01T00:00:00Z"))) as running:
        yield running


@pytest.fixture(scope="session")
def real_source(retail_days: Path) -> Iterator[SpawnedSource]:
    """The real days, served by a process of its own, its clock after their end."""
    with spawn_source(data=retail_days, now=AFTER_THE_YEAR) as source:
        yield source


@pytest.fixture(scope="session")
def reference(retail_days: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real days must become, by SQL over the files alone."""
    return build_reference(retail_days, tmp_path_factory.mktemp("reference") / "reference.duckdb")
