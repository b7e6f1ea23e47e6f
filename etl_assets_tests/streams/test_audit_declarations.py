"""Audits that cannot be evaluated are refused where they are declared, in one line that says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.audit_columns import check_references
from etl_assets.streams.base import (
    Agreement,
    Append,
    Audit,
    Categories,
    Field,
    ForeignKey,
    Freshness,
    MeanDrift,
    NullShare,
    Outliers,
    RowCount,
    UniqueInTable,
    Volume,
)
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.warehouse.papers import MERGED
from etl_assets_tests.warehouse.samples import LINES, ORDERS, Lines


class People(Lines):
    """Lines on which somebody's name stands."""

    name: str = Field(missing="allow", personal="mask")
    city: str = Field(missing="allow", personal="keep")


PEOPLE = replace(LINES, contract=People)
TOTALS = Agreement("invoice_no", "amount", stream=ORDERS.id, stream_key="order_id", stream_total="total")


def cites(column: str = "target", child: str = "cites", key: str = "paper_id") -> ForeignKey:
    """What a paper cites is a paper."""
    return ForeignKey(column, child=child, references=MERGED.id, key=key)


REFUSED: dict[str, tuple[Audit, str]] = {
    "severity": (RowCount(severity="fail"), "has the severity 'fail' (use warn or withhold)"),
    "name": (RowCount(name="Rows!"), "its name must be lower-case letters, digits and underscores"),
    "reserved": (RowCount(name="contract"), "has a name that is taken"),
    "row count": (RowCount(minimum=2, maximum=1), "must have 0 <= minimum <= maximum"),
    "volume": (Volume(enough=13), "must have threshold > 0 and 2 <= enough <= weeks"),
    "null share": (NullShare("quantity"), "must have maximum or rise"),
    "null share of 2": (NullShare("quantity", maximum=2), "as shares between 0 and 1"),
    "categories": (Categories("invoice_no"), "must have expected values or drift"),
    "categories of personal": (Categories("city", drift=1), "column 'city' is personal"),
    "outliers": (Outliers("quantity", threshold=0), "must have threshold > 0"),
    "outliers of text": (Outliers("invoice_no"), "column 'invoice_no' must be a number, not string"),
    "mean drift": (MeanDrift("quantity", factor=1), "must have factor > 1"),
    "mean drift of times": (MeanDrift("invoiced_at"), "must be a number"),
    "no column": (NullShare("colour", maximum=0.5), "names 'colour', which the contract of shop/order_lines"),
    "unique": (UniqueInTable("line_id", maximum_share=2), "maximum_share between 0 and 1"),
    "unique of masked": (UniqueInTable("name"), "is masked or dropped"),
    "foreign key": (ForeignKey("name", references=ORDERS.id, key="order_id"), "is masked or dropped"),
    "grace": (ForeignKey("city", references=ORDERS.id, key="order_id", grace_days=-1), "grace_days >= 0"),
    "agreement": (replace(TOTALS, tolerance=-1), "tolerance, late_days and stream_late_days of 0 or more"),
    "agreement of text": (replace(TOTALS, total="city"), "must be a number"),
    "freshness": (Freshness(timedelta(0)), "must have within > 0"),
    "freshness that withholds": (Freshness(severity="withhold"), "cannot withhold a day that is not there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_audit_that_cannot_be_is_refused(case: str) -> None:
    audit, reason = REFUSED[case]
    with pytest.raises(ConfigurationError) as caught:
        replace(PEOPLE, audits=(audit,))
    assert str(caught.value).startswith(f"shop/order_lines: audit {audit.check_name}")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_audits_of_one_name_are_refused_and_may_be_named() -> None:
    audits = (MeanDrift("quantity"), MeanDrift("quantity", factor=10, severity="withhold"))
    with pytest.raises(ConfigurationError, match="a name that is taken"):
        replace(LINES, audits=audits)
    named = replace(LINES, audits=(audits[0], replace(audits[1], name="mean_drift__far")))
    assert [audit.check_name for audit in named.audits] == ["mean_drift__quantity", "mean_drift__far"]


def test_uniqueness_of_what_append_adds_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="an equal row is not appended again"):
        replace(LINES, write=Append(), audits=(UniqueInTable("line_id"),))


def test_an_agreement_needs_business_dates() -> None:
    customers = discover_streams()["shop/customers"]
    with pytest.raises(ConfigurationError, match="needs a business_date"):
        replace(customers, audits=(replace(TOTALS, key="customer_id", total="country"),))


@pytest.mark.parametrize(
    ("audit", "reason"),
    [
        (cites(child="citations"), "names the child table 'citations', which shop/papers does not have"),
        (cites(column="title"), "names 'title', which the child table cites does not have"),
        (cites(column="born", child="authors"), "of a child table must be text or a whole number"),
    ],
    ids=range(3),
)
def test_a_reference_of_a_child_table_is_checked(audit: Audit, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(MERGED, audits=(audit,))
    assert reason in str(caught.value)


def test_a_child_table_refers_to_a_column_of_its_type() -> None:
    stream = replace(MERGED, audits=(cites(),))
    assert [audit.check_name for audit in stream.audits] == ["foreign_key__cites__target"]
    check_references({stream.id: stream})
    with pytest.raises(ConfigurationError, match="so that none would be equal"):
        check_references({stream.id: replace(MERGED, audits=(cites(key="changed_at"),))})


@pytest.mark.parametrize(
    ("audit", "reason"),
    [
        (
            ForeignKey("invoice_no", references="shop/nothing", key="id"),
            "names the unknown stream 'shop/nothing'",
        ),
        (
            ForeignKey("invoice_no", references=ORDERS.id, key="id"),
            "names 'id', which the contract of shop/orders",
        ),
        (ForeignKey("invoice_no", references=ORDERS.id, key="total"), "so that none would be equal"),
        (replace(TOTALS, stream="shop/nothing"), "names the unknown stream 'shop/nothing'"),
        (replace(TOTALS, stream_key="id"), "names 'id', which the contract of shop/orders"),
        (replace(TOTALS, stream_total="status"), "column 'status' must be a number"),
        (replace(TOTALS, stream_key="updated_at"), "so that none would be equal"),
    ],
    ids=range(7),
)
def test_references_to_other_streams_are_checked(audit: Audit, reason: str) -> None:
    streams = {LINES.id: replace(LINES, audits=(audit,)), ORDERS.id: ORDERS}
    with pytest.raises(ConfigurationError) as caught:
        check_references(streams)
    assert reason in str(caught.value)


def test_what_fits_is_accepted() -> None:
    check_references({LINES.id: replace(LINES, audits=(TOTALS, Freshness())), ORDERS.id: ORDERS})
