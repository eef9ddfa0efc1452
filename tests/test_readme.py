"""The README agrees with the code."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.cli.engines import BEGIN, END, markdown_table

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_table_of_engines_in_the_readme_is_up_to_date() -> None:
    """`asyncinfer engines --markdown --write README.md` updates it."""
    _, _, rest = README.partition(f"{BEGIN}\n")
    table, _, _ = rest.partition(f"\n{END}")
    assert table.strip() == markdown_table()
