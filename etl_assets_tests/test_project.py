"""The project's own files keep their rules.

What belongs here: what can be read from the top-level files and the source tree without running the pipeline.
What does not: import directions, types and lint, which ``make check`` asks of tools made for it.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import etl_assets

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL_FILES = [
    ".ci/run",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "setup.cfg",
    "workspace.yaml",
    "etl_assets/py.typed",
]
LONGEST_MODULE = 400
REGISTRY_ADDRESS = re.compile(
    r"https?://[^\s\"'<>)]*(?:pypi|pythonhosted|artifactory|/nexus|devpi|registry\.npmjs|/simple\b)"
    r"|--(?:extra-)?index-url[ =]|--find-links[ =]",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    """The parsed package metadata."""
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """The parsed build and tool settings."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    """The held versions by normalised package name; a line of any other form fails here."""
    held: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", line)
        assert match, f"constraints.txt: {line!r} is not of the form name==version"
        held[canonicalize_name(match[1])] = match[2]
    return held


def requirements(setup_cfg: configparser.ConfigParser) -> list[Requirement]:
    """Read every requirement of the package and of its extras."""
    blocks = [setup_cfg["options"]["install_requires"], *setup_cfg["options.extras_require"].values()]
    return [Requirement(line) for block in blocks for line in block.split("\n") if line.strip()]


def project_files() -> list[Path]:
    """List what git tracks or would track; skips the test outside a checkout."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("name", TOP_LEVEL_FILES)
def test_wanted_file_exists(name: str) -> None:
    assert (ROOT / name).is_file()


def test_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_license_is_the_whole_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_package_metadata_stands_in_setup_cfg_only(
    setup_cfg: configparser.ConfigParser, pyproject: dict[str, Any]
) -> None:
    assert set(pyproject) == {"build-system", "tool"}
    assert "setuptools" not in pyproject["tool"]
    assert setup_cfg["metadata"]["name"] == "etl_assets"
    strangers = [
        name for name in setup_cfg.sections() if name != "metadata" and not name.startswith("options")
    ]
    assert strangers == [], "tool settings belong in pyproject.toml"


def test_the_oldest_python_is_the_same_everywhere(
    setup_cfg: configparser.ConfigParser, pyproject: dict[str, Any]
) -> None:
    oldest = setup_cfg["options"]["python_requires"].removeprefix(">=")
    major, minor = oldest.split(".")
    assert pyproject["tool"]["mypy"]["python_version"] == oldest
    assert pyproject["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_dagster_loads_the_same_definitions_from_both_files(pyproject: dict[str, Any]) -> None:
    module = pyproject["tool"]["dagster"]["module_name"]
    workspace = (ROOT / "workspace.yaml").read_text(encoding="utf-8")
    assert module == "etl_assets.definitions"
    assert re.findall(r"module_name: *(\S+)", workspace) == [module]


def test_every_requirement_is_held_within_its_range(
    setup_cfg: configparser.ConfigParser, constraints: dict[str, str]
) -> None:
    wanted = requirements(setup_cfg)
    assert len(wanted) > 20
    for requirement in wanted:
        held = constraints.get(canonicalize_name(requirement.name))
        assert held is not None, f"{requirement.name} is not in constraints.txt"
        assert held in requirement.specifier, f"{requirement} excludes the held version {held}"


def test_duckdb_is_held_for_ducklake(constraints: dict[str, str]) -> None:
    assert constraints["duckdb"] == "1.5.5"


def test_no_module_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "etl_assets").rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_every_file_of_the_package_is_in_its_wheel(setup_cfg: configparser.ConfigParser) -> None:
    patterns = setup_cfg["options.package_data"]["*"].split()
    left_out = []
    for path in project_files():
        if ROOT / "etl_assets" not in path.parents or path.suffix == ".py":
            continue
        package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        name = path.relative_to(package).as_posix()
        # A pattern reaches no further down than it has folders.
        fitting = [one for one in patterns if one.count("/") == name.count("/") and fnmatch(name, one)]
        left_out += [] if fitting else [f"{package.name}: {name}"]
    assert left_out == []


def test_version_is_the_metadata_version(setup_cfg: configparser.ConfigParser) -> None:
    try:
        installed = version("etl_assets")
    except PackageNotFoundError:
        pytest.skip("the package is not installed: run make install")
    assert etl_assets.__version__ == installed == setup_cfg["metadata"]["version"]


def test_front_door_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = etl_assets.no_such_name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    ["https://" + "pypi.example/simple/", "http://localhost:3141/root/" + "simple", "pip --index-url" + " x"],
)
def test_registry_addresses_are_recognised(text: str) -> None:
    assert REGISTRY_ADDRESS.search(text)


def test_other_addresses_are_left_alone() -> None:
    assert not REGISTRY_ADDRESS.search("http://127.0.0.1:8765 and https://example.com/a simple page")


def test_no_file_names_a_package_registry() -> None:
    guilty = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        guilty += [f"{path.relative_to(ROOT)}: {match[0]}" for match in REGISTRY_ADDRESS.finditer(text)]
    assert guilty == []
