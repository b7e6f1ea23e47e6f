"""Sources to test against: a small hand-written shop, a generated one, and the real days where present."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from etl_assets.demo.faults import Faults
from etl_assets.demo.server import RunningSource, running_source

ARCHIVE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "online_retail" / "by-day.tar.gz"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
DAY_ONE = f'''{HEADER}
536365,85123A, WHITE HEART ,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,71053,"LAMP, ""OLD""",6,2010-12-01 08:26:00,3.390,,United Kingdom
C536366,85123A,,-1,2010-12-01 09:00:00,2.55,17850.0,France
536367,POST,,2,2010-12-01 08:30:00,0.0,,EIRE
536368,71053,?,x,2010-12-01 23:59:59,1.005,12345.0,Spain
'''
DAY_TWO = f"""{HEADER}
536369,85123A,RED HEART,1,2010-12-03 10:00:00,1.005,12345.0,Spain
536369,71053,,3,2010-12-03 10:00:00,0.001,12345.0,Italy
"""


class Api:
    """A client of a running source that knows the token."""

    def __init__(self, source: RunningSource) -> None:
        self.source = source
        self.client = httpx.Client(
            base_url=source.url,
            headers={"Authorization": f"Bearer {source.token}", "Accept-Encoding": "identity"},
            timeout=30,
            trust_env=False,
        )

    def get(self, path: str, **query: str | int) -> httpx.Response:
        """Ask for a path; ``from_`` stands for the parameter ``from``."""
        return self.client.get(path, params={name.rstrip("_"): value for name, value in query.items()})

    def all_lines(self, start: str, end: str, limit: int = 10_000) -> list[dict[str, object]]:
        """Every order line of a window, page by page."""
        lines: list[dict[str, object]] = []
        more: dict[str, str] = {}
        while True:
            answer = self.get("/v1/order-lines", from_=start, to=end, limit=limit, **more)
            page = answer.raise_for_status().json()
            assert len(page["data"]) <= limit
            lines += page["data"]
            if page["next_cursor"] is None:
                return lines
            assert len(page["data"]) == limit
            more = {"cursor": page["next_cursor"]}

    def all_orders(self, start: str, end: str, per_page: int = 1_000) -> list[dict[str, object]]:
        """Every order of a window, following the Link header."""
        answer = self.get("/v1/orders", updated_from=start, updated_to=end, per_page=per_page)
        orders: list[dict[str, object]] = answer.raise_for_status().json()
        while "next" in answer.links:
            answer = self.client.get(answer.links["next"]["url"]).raise_for_status()
            assert answer.json()
            orders += answer.json()
        return orders


@pytest.fixture(scope="session")
def real_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the 305 real day files."""
    if not ARCHIVE.is_file():
        pytest.skip("the real retail data is absent: ../shared/data/online_retail/by-day.tar.gz")
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "byday"


def write_small_days(folder: Path) -> Path:
    """Write two day files; 2010-12-02 has none."""
    folder.mkdir()
    (folder / "2010-12-01.csv").write_text(DAY_ONE)
    (folder / "2010-12-03.csv").write_text(DAY_TWO)
    (folder / "notes.csv").write_text("not a day")
    return folder


@pytest.fixture
def small_days(tmp_path: Path) -> Path:
    """A folder of two hand-written day files that a test may change."""
    return write_small_days(tmp_path / "days")


@pytest.fixture(scope="session")
def small_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSource]:
    """One source of the hand-written days for all tests; starting and stopping take longer than a test."""
    with running_source(data=write_small_days(tmp_path_factory.mktemp("small") / "days")) as source:
        yield source


@pytest.fixture(scope="session")
def generated_source() -> Iterator[RunningSource]:
    """One source of generated days for all tests."""
    with running_source(seed=7) as source:
        yield source


@pytest.fixture
def small(small_source: RunningSource) -> Iterator[Api]:
    """The source of the hand-written days without faults, its clock standing long after them."""
    yield from fresh(small_source, datetime(2011, 1, 1, tzinfo=UTC))


@pytest.fixture
def generated(generated_source: RunningSource) -> Iterator[Api]:
    """The source of generated days without faults, its clock standing at 2025-03-01."""
    yield from fresh(generated_source, datetime(2025, 3, 1, tzinfo=UTC))


def fresh(source: RunningSource, now: datetime) -> Iterator[Api]:
    """A source as if it had just been started."""
    source.clock.set_fixed(now)
    source.faults.set_to(Faults())
    source.stats.reset()
    api = Api(source)
    yield api
    api.client.close()
