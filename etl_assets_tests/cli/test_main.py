"""The front door: exit codes, and one line for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from etl_assets import __version__
from etl_assets.cli.main import COMMANDS, app_for, run
from etl_assets.failures import ConfigurationError, EtlError, StorageFullError


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"etl-assets {__version__}\n"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(command: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, option]) == 0
    assert " ".join(["Usage: etl-assets", *command]) in capsys.readouterr().out


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\u2502 {name} " not in said] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_module_of_the_command_that_is_asked_for_is_enough(command: str) -> None:
    app = app_for(["--debug", command, "--help"])
    assert len(app.registered_commands) + len(app.registered_groups) == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["statu"], ["--debug"]], ids=" ".join)
def test_where_no_command_is_asked_for_all_of_them_are_there(arguments: list[str]) -> None:
    app = app_for(arguments)
    assert len(app.registered_commands) + len(app.registered_groups) == len(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["backfill", "--nope"], "No such option"),
        (["backfill", "--to"], "requires an argument"),
        (["backfill"], "--from is missing"),
        (["backfill", "--from", "2025-01-01"], "--to is missing"),
        (["backfill", "--from", "soon", "--to", "2025-01-01"], "--from 'soon' is not a day"),
        (["backfill", "--from", "2025-02-01", "--to", "2025-01-01"], "is after --to"),
        (["backfill", "--from", "2025-01-01", "--to", "9999-12-31"], "is not over yet"),
        (["backfill", "no/such", "--from", "2025-01-01", "--to", "2025-01-01"], "unknown stream 'no/such'"),
        (["status", "no/such"], "unknown stream 'no/such'"),
        (["status", "--from", "x"], "--from 'x' is not a day"),
        (["source", "--port", "many"], "valid integer"),
        (["ui", "--port", "0"], "1"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    said: str,
    environment_of: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment_of().items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1, "one line"


ERRORS: list[tuple[Exception, int, str]] = [
    (ConfigurationError("it cannot\nbe used", hint="change it"), 2, "it cannot be used (change it)"),
    (EtlError("it failed"), 1, "it failed"),
    (StorageFullError("no room left"), 1, "no room left"),
    (
        OSError(28, "No space left on device"),
        1,
        "no room left on the disk; everything committed so far is safe",
    ),
    (PermissionError(13, "Permission denied", "/srv/x"), 1, "no permission for /srv/x: check ETL_DATA_DIR"),
    (ValueError("bad value 'Ada'"), 1, "unexpected ValueError at test_main.py:"),
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes reading the settings fail: the errors are rare ones, and what matters is how they are told."""

    def make(error: BaseException) -> None:
        def fail(*_: Any) -> None:
            raise error

        monkeypatch.setattr("etl_assets.settings.load_settings", fail)

    return make


@pytest.mark.parametrize(("error", "code", "said"), ERRORS, ids=lambda value: type(value).__name__)
def test_error_is_one_line_and_a_code(
    error: Exception,
    code: int,
    said: str,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run(["status"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {said}")
    assert shown.err.count("\n") == 1
    assert "Ada" not in shown.err
    assert "\x1b" not in shown.err


def test_interrupt_is_no_traceback(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert run(["status"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_traceback_only_when_asked(failing: Callable[[BaseException], None]) -> None:
    failing(ValueError("seen"))
    with pytest.raises(ValueError, match="seen"):
        run(["--debug", "status"])
