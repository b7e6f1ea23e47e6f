"""Datasets of the Environmental Information Data Centre: what its catalogue says about each, kept with its history."""

import pandas as pd

from etl_assets.dataset_metadata import catalogue_json, iso19139, schema_org
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Children,
    Contract,
    Date,
    DocumentFormat,
    Documents,
    Field,
    ForeignKey,
    RestSource,
    Snapshot,
    Stream,
    Timestamp,
    listed_in,
    row_rule,
)


class Datasets(Contract):
    """One dataset."""

    dataset_id: str = Field(raw="_identifier", description="Identifier, as in the list")
    title: str = Field(description="Title")
    abstract: str = Field(missing="warn", description="What the dataset is")
    lineage: str = Field(missing="allow", description="How it came about")
    type: str = Field(missing="warn", description="Kind of resource, such as dataset, series or service")
    status: str = Field(
        missing="allow", description="Whether it is to be had, such as Available or Superseded"
    )
    topics: str = Field(missing="allow", description="Topic categories of ISO 19115, parted by semicolons")
    licence: str = Field(missing="allow", description="What the licence says")
    licence_url: str = Field(missing="allow", description="Where the licence is")
    doi: str = Field(missing="allow", description="Digital object identifier, without an address")
    publication_date: Date = Field(missing="allow", description="Day of publication")
    metadata_date: Timestamp = Field(missing="warn", description="When the metadata was last changed, UTC")
    own_identifier: str = Field(raw="identifier", missing="warn", description="Identifier in the document")
    format: str = Field(raw="_format", description="Format that the document came in")
    losses: str = Field(missing="allow", description="What that format or this document lost, by field")

    @row_rule(severity="warn", reason="the document names another identifier")
    def names_itself(cls, rows: pd.DataFrame) -> pd.Series:
        return rows["own_identifier"].isna() | (rows["own_identifier"] == rows["dataset_id"])


class People(Contract):
    """A person or an organisation that had a part in a dataset."""

    name: str = Field(missing="allow", personal="keep", description="Name, as datasets are cited with it")
    organisation: str = Field(missing="allow", description="Organisation, or that of the person")
    email: str = Field(missing="allow", personal="mask", description="E-mail address")
    role: str = Field(missing="warn", description="Part that they had, such as author or pointOfContact")
    orcid: str = Field(missing="allow", personal="keep", description="ORCID, without an address")


class Keywords(Contract):
    """A keyword of a dataset."""

    keyword: str = Field(description="Keyword")
    uri: str = Field(missing="allow", description="Term of a vocabulary that it stands for")


class Extents(Contract):
    """A bounding box or a span of time that a dataset covers."""

    kind: str = Field(isin=["box", "period"], description="box or period")
    west: float = Field(missing="allow", description="Degrees of longitude")
    east: float = Field(missing="allow", description="Degrees of longitude")
    south: float = Field(missing="allow", description="Degrees of latitude")
    north: float = Field(missing="allow", description="Degrees of latitude")
    begins_on: Date = Field(missing="allow", description="First day")
    ends_on: Date = Field(missing="allow", description="Last day; missing while it goes on")

    @row_rule(severity="warn", reason="a bounding box lacks a side, or lies outside the earth")
    def box_is_on_earth(cls, rows: pd.DataFrame) -> pd.Series:
        on_earth = pd.Series(True, index=rows.index)
        for side, most in (("west", 180), ("east", 180), ("south", 90), ("north", 90)):
            on_earth &= rows[side].between(-most, most)
        return on_earth | (rows["kind"] != "box")

    @row_rule(severity="warn", reason="a bounding box is inverted: its west is east of its east, say")
    def box_is_upright(cls, rows: pd.DataFrame) -> pd.Series:
        return ~((rows["west"] > rows["east"]) | (rows["south"] > rows["north"]))

    @row_rule(severity="warn", reason="a span of time ends before it begins")
    def ends_after_begin(cls, rows: pd.DataFrame) -> pd.Series:
        return ~(rows["ends_on"] < rows["begins_on"]).fillna(False).astype(bool)


class Links(Contract):
    """An online resource of a dataset."""

    url: str = Field(description="Address")
    name: str = Field(missing="allow", description="Name")
    function: str = Field(missing="allow", description="What it is for, such as download")
    description: str = Field(missing="allow", description="What is there")


class Relationships(Contract):
    """A relationship of a dataset to another one."""

    relation: str = Field(missing="warn", description="Kind of relationship, such as memberOf")
    target_id: str = Field(raw="target", description="Identifier of the other dataset")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields; the parsers have brought them into one form."""
    columns = {"dataset_id": "_identifier", "own_identifier": "identifier", "format": "_format"}
    texts = ("title", "abstract", "lineage", "type", "status", "licence", "licence_url", "doi")
    return pd.DataFrame(
        {name: parse.text(raw[name]) for name in texts}
        | {name: parse.text(raw[field]) for name, field in columns.items()}
        | {name: parse.text(raw[name].map(joined)) for name in ("topics", "losses")}
        | {
            "publication_date": parse.days_of(parse.timestamps(raw["publication_date"])),
            "metadata_date": parse.timestamps(raw["metadata_date"]),
        }
    )


def joined(texts: object) -> str | None:
    """Write a list of texts as one."""
    return "; ".join(map(str, texts)) if isinstance(texts, list) else None


STREAM = Stream(
    # The catalogue asks for about one request a second; ETL_EIDC_RATE sets another pace.
    source=RestSource(name="eidc", requests_per_second=1.0, burst=5, concurrency=2),
    name="datasets",
    owner="team:research",
    description="Research datasets of the Environmental Information Data Centre.",
    extract=Documents(
        path="/id/{identifier}",
        identifiers=listed_in("identifiers.txt"),
        formats=(
            DocumentFormat(
                name="json",
                parameters={"format": "json"},
                accept="application/json",
                parse=catalogue_json.parse,
            ),
            DocumentFormat(
                name="gemini",
                path="/id/{identifier}.xml",
                parameters={"format": "gemini"},
                accept="application/x-gemini+xml, application/xml;q=0.9",
                parse=iso19139.parse,
            ),
            DocumentFormat(
                name="schema_org",
                parameters={"format": "schema.org"},
                accept="application/ld+json",
                parse=schema_org.parse,
            ),
        ),
        concurrency=2,
    ),
    contract=Datasets,
    transform=clean,
    write=Snapshot(key="dataset_id", removed="mark", history=True),
    embed=("title", "abstract"),
    children=(
        Children(name="people", contract=People),
        Children(name="keywords", contract=Keywords),
        Children(name="extents", contract=Extents),
        Children(name="links", contract=Links),
        Children(name="relationships", contract=Relationships),
    ),
    audits=(
        # A list names some datasets of the catalogue; they may well refer to others.
        ForeignKey("target_id", child="relationships", references="eidc/datasets", key="dataset_id"),
    ),
)
