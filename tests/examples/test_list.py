"""The README lists every example."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.programs import EXAMPLES, REPOSITORY

PROGRAMS = sorted(path for kind in ("py", "ipynb", "yaml") for path in EXAMPLES.rglob(f"*.{kind}"))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_readme_links_to_the_example(path: Path) -> None:
    assert f"]({path.relative_to(REPOSITORY)})" in (REPOSITORY / "README.md").read_text()
