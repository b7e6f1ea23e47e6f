"""The catalogue of datasets all the way into the warehouse, with faults, one document that is gone, and repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from etl_assets.demo.datasets import MadeUpDatasets, make_datasets
from etl_assets.demo.faults import Faults
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.failures import FailureClass
from etl_assets.outcomes import Counts, Harvest, PartitionOutcome, Status
from etl_assets_tests.dataset_metadata.corpus import json_documents, lay_out, listed, xml_documents
from etl_assets_tests.pipeline.harvests import TODAY, YESTERDAY, Harvesting

Variables = Callable[..., dict[str, str]]
GONE = "e68063b9-2e52-44df-8b6f-a3deb37b76cb"


def asked(source: RunningSource) -> Counter[str]:
    """Count the answers that the source gave about datasets, by how, and begin anew."""
    found: Counter[str] = Counter()
    for (path, outcome), number in source.stats.requests.items():
        if path.startswith("/id/"):
            found[outcome] += number
    source.stats.reset()
    return found


def unknown_targets(outcome: PartitionOutcome) -> float:
    """Give how many relationships lead to unknown datasets, by the audit that says so."""
    (check,) = (check for check in outcome.checks if check.kind == "foreign_key")
    assert not check.withholds
    assert check.passed == (check.numbers["orphan_rows"] == 0)
    return check.numbers["orphan_rows"]


def test_a_harvest_with_faults_and_a_document_that_is_gone(environment_of: Variables) -> None:
    """200 identifiers, one of them gone, faults of 5 %: 199 stored, 1 failed for good after one attempt."""
    with running_source(faults=Faults(errors=0.03, cut_off=0.02, seed=2)) as source:
        harvesting = Harvesting(environment_of(source))
        outcome = harvesting.load()
        assert outcome.status is Status.PUBLISHED_WITH_WARNINGS
        assert outcome.counts.loaded == harvesting.select("SELECT count(*) FROM eidc.datasets")[0][0] == 199
        assert outcome.harvest == Harvest(succeeded=199, failed=1)
        assert outcome.harvest.success_rate == pytest.approx(0.995)
        faulty = asked(source)
        assert faulty["200"] == 199
        assert sum(number for how, number in faulty.items() if how not in ("200", "404")) >= 5
        (item,) = harvesting.items()
        assert (item.identifier, item.attempts, item.stage) == (GONE, 1, "extract")
        assert item.failure_class == FailureClass.PERMANENT
        assert item.message.startswith("there is no such document: eidc answered 404")
        # Where it failed, and nothing of what was there.
        assert "etl_assets/sources/client.py:" in item.traceback
        assert "SourceError" in item.traceback
        assert GONE not in item.traceback

        source.faults.set_to(Faults())
        # A rerun transfers nothing: each document costs one 304, and the one that is gone is looked for in each format.
        rerun = harvesting.load()
        assert rerun.harvest == Harvest(unchanged=199, failed=1)
        assert asked(source) == {"304": 199, "404": 3}
        assert rerun.counts.unchanged == 199
        # Asking for what failed asks for one.
        retried = harvesting.load(retry={YESTERDAY: {GONE}}, run_id="retry")
        assert retried.harvest == Harvest(skipped=199, failed=1)
        assert asked(source) == {"404": 3}
        assert [item.attempts for item in harvesting.items()] == [3]


def test_a_second_harvest_of_unchanged_documents_writes_its_load_log_alone(
    source: RunningSource, environment_of: Variables
) -> None:
    harvesting = Harvesting(environment_of(source))
    harvesting.load()
    before = harvesting.tables()
    assert all(before.values())
    asked(source)
    # The next day, whose documents were landed with the day before.
    outcome = harvesting.load(TODAY, run_id="run-2")
    assert outcome.counts == Counts(
        extracted=199, staged=199, warned=outcome.counts.warned, unchanged=199, failed_items=1
    )
    assert outcome.harvest == Harvest(unchanged=199, failed=1)
    assert asked(source) == {"304": 199, "404": 3}
    assert harvesting.tables() == before
    assert harvesting.select("SELECT run_id, unchanged FROM etl.loads ORDER BY load_id") == [
        ("run", 0),
        ("run-2", 199),
    ]


def test_a_document_that_changes_is_a_version_with_lists_of_its_own(
    tmp_path: Path, environment_of: Variables
) -> None:
    made_up = MadeUpDatasets()
    identifiers = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]
    changing = identifiers[1]
    documents = {identifier: made_up.document(identifier, "json") or b"" for identifier in identifiers}
    lay_out(tmp_path / "folder", documents, ".json")
    chosen = listed(tmp_path / "list.txt", identifiers)
    with running_source(datasets=make_datasets(tmp_path / "folder")) as source:
        harvesting = Harvesting(environment_of(source, ETL_EIDC_IDENTIFIERS=chosen))
        assert harvesting.load().harvest == Harvest(succeeded=3)
    # The next day one of them is there as XML alone, with another author.
    (tmp_path / "folder" / f"{changing}.json").unlink()
    document = made_up.document(changing, "gemini") or b""
    name = made_up.record(changing)["people"][0]["name"].encode()
    lay_out(tmp_path / "folder", {changing: document.replace(name, b"Newton, I.", 1)}, ".xml")
    with running_source(datasets=make_datasets(tmp_path / "folder")) as source:
        # The same catalogue at another port: what was landed is asked for anew.
        harvesting = Harvesting(environment_of(source, ETL_EIDC_IDENTIFIERS=chosen))
        outcome = harvesting.load(TODAY)
        assert outcome.harvest == Harvest(succeeded=3)
        assert outcome.counts.updated == 1
    versions = harvesting.select(
        f"SELECT format, valid_from, valid_to FROM eidc.datasets_history WHERE dataset_id = '{changing}' ORDER BY 2"
    )
    assert versions == [("json", YESTERDAY, TODAY), ("gemini", TODAY, None)]
    losses = harvesting.select(f"SELECT losses FROM eidc.datasets WHERE dataset_id = '{changing}'")
    assert "relationships: " in losses[0][0]
    people = f"SELECT name FROM eidc.datasets_people WHERE dataset_id = '{changing}' AND position = 1"
    assert harvesting.select(people) == [("Newton, I.",)]
    emails = harvesting.select("SELECT DISTINCT email FROM eidc.datasets_people")
    assert all(email.endswith("***@***") for (email,) in emails)


@pytest.mark.real_data
def test_every_real_document_is_loaded_or_reported_with_a_reason(
    tmp_path: Path, environment_of: Variables
) -> None:
    json_names = {name.rpartition("/")[2]: body for name, body in json_documents().items()}
    xml_names = {f"xml-{place}": body for place, body in enumerate(xml_documents().values())}
    folder = tmp_path / "folder"
    identifiers = [*lay_out(folder, json_names, ".raw"), *lay_out(folder, xml_names, ".xml")]
    with running_source(datasets=make_datasets(folder)) as source:
        variables = environment_of(source, ETL_EIDC_IDENTIFIERS=listed(tmp_path / "list.txt", identifiers))
        harvesting = Harvesting(variables)
        outcome = harvesting.load()
    assert outcome.harvest == Harvest(succeeded=636, failed=2)
    assert outcome.counts.conserved
    assert (outcome.counts.loaded, outcome.counts.quarantined) == (629, 7)
    assert outcome.violations == {"title.missing": 7}
    assert outcome.warnings["own_identifier.missing"] == 15
    assert unknown_targets(outcome) == 5
    malformed = {item.identifier: item.message for item in harvesting.items()}
    assert len(malformed) == 2
    assert all(
        message.startswith("the document cannot be read as gemini: XMLSyntaxError")
        for message in malformed.values()
    )
    assert harvesting.select("SELECT count(*) FROM eidc.datasets_keywords") == [(4829,)]
    assert harvesting.select(
        "SELECT count(*) FROM eidc.datasets_extents WHERE kind = 'period' AND begins_on = DATE '1990-01-01'"
    ) == [(27,)]
    payloads = harvesting.select("SELECT raw_payload FROM etl.quarantine")
    assert all("@" not in payload for (payload,) in payloads)


DIRT = {
    "inverted": ("extents.box_is_upright", b'"boundingBoxes": [{"westBoundLongitude": 5, "eastBoundLongitude": 1, '
                 b'"southBoundLatitude": 1, "northBoundLatitude": 2}]'),
    "backwards": ("extents.ends_after_begin", b'"temporalExtents": [{"begin": "2015-01-01", "end": "2014-01-01"}]'),
    "beyond": ("extents.box_is_on_earth", b'"boundingBoxes": [{"westBoundLongitude": -999, "eastBoundLongitude": 1, '
               b'"southBoundLatitude": 1, "northBoundLatitude": 2}]'),
    "elsewhere": ("", b'"relationships": [{"relation": "x", "target": "nowhere"}, '
                  b'{"relation": "x", "target": "beyond"}]'),
}  # fmt: skip


def test_dirt_warns_and_a_missing_title_quarantines(tmp_path: Path, environment_of: Variables) -> None:
    folder = tmp_path / "folder"
    plain = (
        b'{"id": "%s", "title": "t", "description": "d", "type": "dataset", '
        b'"metadataDate": "2020-01-01T00:00:00", %s}'
    )
    documents = {name: plain % (name.encode(), fields) for name, (_, fields) in DIRT.items()}
    documents["untitled"] = b'{"id": "untitled", "description": "d"}'
    identifiers = lay_out(folder, documents, ".json")
    with running_source(datasets=make_datasets(folder)) as source:
        chosen = listed(tmp_path / "list.txt", identifiers)
        harvesting = Harvesting(environment_of(source, ETL_EIDC_IDENTIFIERS=chosen))
        # Of five, one bad one is more than the budget.
        outcome = harvesting.load()
        assert outcome.status is Status.WITHHELD
        assert outcome.violations == {"title.missing": 1}
        listed(tmp_path / "list.txt", identifiers[:-1])
        outcome = harvesting.load()
    assert outcome.status is Status.PUBLISHED_WITH_WARNINGS
    assert outcome.warnings == {rule: 1 for rule, _ in DIRT.values() if rule}
    assert unknown_targets(outcome) == 1
    assert harvesting.select("SELECT count(*) FROM eidc.datasets") == [(4,)]


def test_a_harvest_asks_at_the_pace_that_is_set(tmp_path: Path, environment_of: Variables) -> None:
    """The limiter is the client's own and tested there; that the setting reaches it shows in the reader."""
    harvesting = Harvesting(environment_of(ETL_EIDC_RATE="0.25"))
    reader = harvesting.environment.open_source(harvesting.stream.source)
    try:
        assert reader.client.source.requests_per_second == 0.25  # type: ignore[attr-defined]
    finally:
        reader.close()
