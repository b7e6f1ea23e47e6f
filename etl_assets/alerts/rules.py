"""The one settings file of the alerts: channels, owners, routes, deadlines and thresholds.

What belongs here: its form, reading it, and one line for what cannot be used. What does not: acting on it (`routing`),
and secrets, which stand in environment variables that the file names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import time, timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.durations import parse_span, parse_time
from etl_assets.failures import ConfigurationError
from etl_assets.settings import ALERTS_FILE_VARIABLE, SLACK_VARIABLE, SMTP_VARIABLE, Settings

SHORTEST_RHYTHM, LONGEST_RHYTHM = timedelta(seconds=5), timedelta(minutes=2)
"""Dagster looks no more often for sensors that are due; and the watchdog takes five silent minutes for the end."""

Span = Annotated[timedelta, BeforeValidator(lambda value: parse_span(_text(value)))]
TimeOfDay = Annotated[time, BeforeValidator(lambda value: parse_time(_text(value)))]
Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _variable(value: Any) -> str:
    name = _text(value)
    if not (name.isascii() and name.replace("_", "").isalnum() and name.isupper()):
        # Not repeated: somebody may have put the secret itself here.
        raise ValueError("must be the name of an environment variable, which holds the secret")
    return name


VariableName = Annotated[str, BeforeValidator(_variable)]


def _zone(value: Any) -> str:
    try:
        ZoneInfo(_text(value))
    except (KeyError, OSError, ValueError):
        raise ValueError("must be a time zone, such as Europe/Berlin") from None
    return str(value)


_SENDER = re.compile(r"^(?:[^<>\r\n]+ <)?[^@\s<>,]+@[^@\s<>,]+>?$")
_MENTION = re.compile(r"^(<(@|!subteam\^)[A-Z0-9]+>|<!(here|channel)>)$")


def _sender(value: Any) -> str:
    if not _SENDER.match(_text(value)) or value.count("<") != value.count(">"):
        raise ValueError("must be an e-mail address, or a name and <address>")
    return str(value)


def _mention(value: Any) -> str:
    if not _MENTION.match(_text(value)):
        raise ValueError(
            "must be <@U...>, <!subteam^S...>, <!here> or <!channel>, with Slack's own identifier"
        )
    return str(value)


def _rhythm(value: Any) -> timedelta:
    span = parse_span(_text(value))
    if not SHORTEST_RHYTHM <= span <= LONGEST_RHYTHM:
        raise ValueError("must be from 5s to 2m")
    return span


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class SlackRules(_Strict):
    """A Slack channel, by an incoming webhook."""

    kind: Literal["slack"]
    webhook: VariableName = SLACK_VARIABLE
    timeout: float = Field(default=10, gt=0, le=30)


class EmailRules(_Strict):
    """E-mail."""

    kind: Literal["email"]
    server: VariableName = SMTP_VARIABLE
    sender: Annotated[str, BeforeValidator(_sender)] = Field(alias="from")
    to: Names = ()
    to_owner: bool = False
    timeout: float = Field(default=10, gt=0, le=30)

    @model_validator(mode="after")
    def _has_somebody(self) -> Self:
        if not self.to and not self.to_owner:
            raise ValueError("needs addresses in to, or to_owner = true")
        wrong = [
            address for address in self.to if "@" not in address or any(mark in address for mark in " ,\r\n")
        ]
        if wrong:
            raise ValueError(f"{wrong[0]!r} in to is no e-mail address")
        return self


class AppriseRules(_Strict):
    """Any service that Apprise knows, by its address."""

    kind: Literal["apprise"]
    url: VariableName
    timeout: float = Field(default=10, gt=0, le=30)


ChannelRules = Annotated[SlackRules | EmailRules | AppriseRules, Field(discriminator="kind")]


class Owner(_Strict):
    """How an owner is reached."""

    slack: Annotated[str, BeforeValidator(_mention)] = ""
    email: Names = ()


class Quiet(_Strict):
    """Hours in which a route waits."""

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")
    zone: Annotated[str, BeforeValidator(_zone)] = "UTC"
    unless: Severity = Severity.CRITICAL


class Route(_Strict):
    """Where conditions go; the first route that fits decides."""

    owner: Names = ()
    severity: Severity = Severity.INFO
    kinds: tuple[Kind, ...] = ()
    subjects: Names = ()
    channels: Annotated[Names, Field(min_length=1)]
    quiet: Quiet | None = None


class Limits(_Strict):
    """Levels of a number; what lies beyond one is told."""

    warning: float | None = None
    error: float | None = None
    warning_below: float | None = None
    error_below: float | None = None


class StreamRules(_Strict):
    """What is expected of a stream."""

    deadline: TimeOfDay | Literal["never"] | None = None
    error_rate: Limits | None = None
    seconds: Limits | None = None
    rows: Limits | None = None


class Rules(_Strict):
    """The whole file."""

    cool_down: Span = timedelta(hours=1)
    group_wait: Span = timedelta(seconds=30)
    look_every: Annotated[timedelta, BeforeValidator(_rhythm)] = timedelta(seconds=30)
    give_up: Span = timedelta(days=1)
    fallback: str | None = None
    deadline: TimeOfDay = time(6)
    breaker_open: Span = timedelta(minutes=15)
    daily_summary: TimeOfDay | None = None
    channels: Mapping[str, ChannelRules] = Field(default_factory=dict)
    owners: Mapping[str, Owner] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    streams: Mapping[str, StreamRules] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        named = [name for route in self.routes for name in route.channels]
        named += [self.fallback] if self.fallback else []
        for name in named:
            if name not in self.channels:
                raise ValueError(f"there is no channel {name!r}; known: {', '.join(self.channels) or 'none'}")
        return self

    @property
    def is_configured(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.channels)

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that hold the channels' secrets."""
        return frozenset(
            declared.webhook
            if isinstance(declared, SlackRules)
            else declared.server
            if isinstance(declared, EmailRules)
            else declared.url
            for declared in self.channels.values()
        )

    def of_stream(self, stream_id: str) -> StreamRules:
        """Give what is expected of a stream: patterns in their order, and then what is said of it by name."""
        fitting = [
            rule for name, rule in self.streams.items() if name != stream_id and fnmatchcase(stream_id, name)
        ]
        fitting += [self.streams[stream_id]] if stream_id in self.streams else []
        merged: dict[str, Any] = {}
        for rule in fitting:
            merged |= {
                name: value for name in StreamRules.model_fields if (value := getattr(rule, name)) is not None
            }
        return StreamRules.model_construct(**merged)

    def check_streams(self, stream_ids: Iterable[str]) -> None:
        """Refuse rules about streams that there are not.

        Raises:
            ConfigurationError: If a name or pattern fits no stream.
        """
        known = list(stream_ids)
        for name in self.streams:
            if not any(fnmatchcase(stream, name) for stream in known):
                raise ConfigurationError(
                    f"the alerts file has rules for the stream {name!r}, which there is not",
                    hint=f"known: {', '.join(known)}",
                )


def load_rules(settings: Settings) -> Rules:
    """Read the alerts file; without one, a Slack webhook alone gets everything.

    Args:
        settings: Where it is.

    Raises:
        ConfigurationError: If it cannot be read or used, in one line without a secret.
    """
    path = settings.alerts_file
    if path is None:
        if settings.secret(SMTP_VARIABLE) is not None:
            raise ConfigurationError(
                f"{SMTP_VARIABLE} is set, but nothing says whom to write to",
                hint=f"name a file with a channel of kind email in {ALERTS_FILE_VARIABLE}",
            )
        channels = {"slack": SlackRules(kind="slack")} if settings.secret(SLACK_VARIABLE) else {}
        return Rules(channels=channels)
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"the alerts file {path} cannot be read: {error.strerror}", hint=f"check {ALERTS_FILE_VARIABLE}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the alerts file {path} is no TOML: {_first(error)}") from error
    except ValidationError as error:
        # Without its cause, which quotes what stands in the file.
        raise ConfigurationError(f"the alerts file {path} cannot be used: {_said(error)}") from None


_CHANNEL_KINDS = ("slack", "email", "apprise")


def _perhaps(word: str) -> str:
    """Suggest the setting that a misspelt one is most like, wherever in the file it belongs."""
    models = (Rules, SlackRules, EmailRules, AppriseRules, Owner, Quiet, Route, StreamRules, Limits)
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    alike = get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {alike[0]}?" if alike else ", see docs/alerts.md"


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _said(error: ValidationError) -> str:
    """Say the first problem: where, and what must be there."""
    found = error.errors(include_input=False, include_url=False)[0]
    parts = list(found["loc"])
    if parts[:1] == ["channels"]:
        # Pydantic puts the kind of a channel between its name and its field.
        del parts[2:3]
    place = ".".join(str(part) for part in parts)
    match found["type"]:
        case "extra_forbidden":
            message = f"there is no such setting{_perhaps(str(parts[-1]))}"
        case "union_tag_invalid" | "union_tag_not_found":
            message = f"kind must be one of {', '.join(_CHANNEL_KINDS)}"
        case "missing":
            message = "is missing"
        case _:
            message = found["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
