"""What an error says to install brings what was missing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# `MissingDependencyError("package", "extra")`, and `_needs("module", "package")` in what loads Transformers' models.
NAMED = re.compile(r'MissingDependencyError\("([\w-]+)", "([\w-]+)"\)')
NEEDED = re.compile(r'_needs\("(?:\w+", ")?([\w-]+)"\)')


def named() -> Iterator[tuple[str, str]]:
    for path in (ROOT / "asyncinfer").rglob("*.py"):
        source = path.read_text()
        yield from NAMED.findall(source)
        yield from ((package, "native") for package in NEEDED.findall(source))


@pytest.mark.parametrize(("package", "extra"), sorted(set(named())))
def test_the_extra_that_an_error_names_brings_the_package(package: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = [re.split(r"[\[<>= ]", one)[0] for one in project["optional-dependencies"][extra]]
    assert package in brought
