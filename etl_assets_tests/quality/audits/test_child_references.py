"""Foreign keys of child tables, and of streams whose rows refer to one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets.streams.base import Children, Contract, Field, ForeignKey, Merge, Stream, UniqueInTable
from etl_assets_tests.quality.audits.days import audited, opened_shop
from etl_assets_tests.warehouse.papers import CHILDREN, DELETED, MARKED, MERGED, paper, papers
from etl_assets_tests.warehouse.samples import Row

CITES = ForeignKey("target", child="cites", references=MERGED.id, key="paper_id")
KINDS = {"merge": MERGED, "mark": MARKED, "delete": DELETED}


def citing(paper_id: str, *targets: str, number: int = 0) -> Row:
    """Make a paper that cites others."""
    return paper(paper_id, number, {"cites": [{"target": target} for target in targets]})


@pytest.mark.parametrize("stream", KINDS.values(), ids=KINDS)
def test_references_that_lead_nowhere_are_found(tmp_path: Path, stream: Stream) -> None:
    with opened_shop(tmp_path, others=[audited(stream, CITES)]) as shop:
        result = shop.say(stream.id, 0, [citing("a", "b", "x", "x"), citing("b", "a", "y"), paper("c")])
        assert shop.say(stream.id, 0, [citing("a", "b"), citing("b", "a")]).passed
        assert shop.say(stream.id, 0, [paper("a")]).passed, "no references at all"
    assert not result.passed
    assert not result.withholds
    assert result.numbers == {"orphan_rows": 3, "pending_rows": 0, "orphan_share": 0.6}
    assert result.message == "3 of 5 rows of cites (60.0%) have a target that shop/papers.paper_id lacks"
    assert "| x | 2 |" in result.sample


def test_a_target_of_another_day_is_there(tmp_path: Path) -> None:
    with opened_shop(tmp_path, others=[audited(MERGED, CITES)]) as shop:
        shop.load(MERGED.id, 0, [paper("b")])
        assert shop.say(MERGED.id, 1, [citing("a", "b", number=1)]).passed


def test_a_target_that_is_gone_is_not_there(tmp_path: Path) -> None:
    with opened_shop(tmp_path, others=[audited(MARKED, CITES)]) as shop:
        shop.load(MARKED.id, 0, [paper("a"), paper("b")])
        shop.load(MARKED.id, 1, [paper("a")])
        assert shop.say(MARKED.id, 2, [citing("a", "b")]).numbers["orphan_rows"] == 1


def test_days_of_a_group_see_those_before_them_alone(tmp_path: Path) -> None:
    with opened_shop(tmp_path, others=[audited(MERGED, CITES)]) as shop:
        first = shop.stage(MERGED.id, 0, [citing("a", "b")])
        second = shop.stage(MERGED.id, 1, [citing("b", "a", number=1)])
        early, late = (results["foreign_key__cites__target"] for results in shop.judge(first, second))
    assert not early.passed
    assert late.passed


class People(Contract):
    """Authors whose names are in the table, and are shown nowhere."""

    name: str = Field(personal="keep")


def test_personal_values_are_shown_nowhere(tmp_path: Path) -> None:
    children = (Children(name="authors", contract=People), *CHILDREN[1:])
    names = ForeignKey("name", child="authors", references=MERGED.id, key="paper_id")
    stream = papers(Merge(key="paper_id", version="changed_at"), children, names)
    with opened_shop(tmp_path, others=[stream]) as shop:
        result = shop.say(stream.id, 0, [paper("a", 0, {"authors": [{"name": "Ada Lovelace"}]})])
    assert not result.passed
    assert "Ada" not in result.sample + result.message


def test_worst_rows_show_no_lists(tmp_path: Path) -> None:
    with opened_shop(tmp_path, others=[audited(MERGED, UniqueInTable("title"))]) as shop:
        shop.load(MERGED.id, 0, [paper("a")])
        result = shop.say(MERGED.id, 1, [paper("b", 1, {"authors": [{"name": "Ada Lovelace"}]})])
    assert "| b |" in result.sample.replace("  ", " ")
    assert "Ada" not in result.sample
