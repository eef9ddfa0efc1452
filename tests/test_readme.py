"""What the README says of the code is so."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.cli.engines import markdown_table

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_its_table_of_providers_is_the_catalogs() -> None:
    """`asyncinfer engines --markdown` prints it."""
    _, _, rest = README.partition("<!-- providers -->\n")
    table, _, _ = rest.partition("\n<!-- end of providers -->")
    assert table.strip() == markdown_table()
