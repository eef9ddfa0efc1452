"""The format of an output by the ending of its path."""

from __future__ import annotations

import pytest

from asyncinfer import ConfigError, OutputParams
from asyncinfer.config import OutputFormat
from asyncinfer.data.layout import output_layout


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("a.jsonl", OutputFormat.JSONL),
        ("a.CSV", OutputFormat.CSV),
        ("a.tsv.gz", OutputFormat.CSV),
        ("a.pq", OutputFormat.PARQUET),
        ("a.out", OutputFormat.JSONL),
        ("a.xyz", OutputFormat.JSONL),
        ("a", OutputFormat.JSONL),
        (None, OutputFormat.JSONL),
    ],
)
def test_ending_chooses_the_format_and_any_unknown_one_is_jsonl(path: str | None, format: OutputFormat) -> None:
    assert output_layout(path, None).format is format


@pytest.mark.parametrize("path", ["b.arrow", "b.Feather", "b.xlsx", "s.avro", "b.sqlite", "b.arrow.gz"])
def test_ending_of_a_format_that_is_not_written_is_an_error(path: str) -> None:
    with pytest.raises(
        ConfigError, match=r"output.path: .* files are not written. .*\.jsonl, \.csv, \.tsv or \.parquet"
    ):
        output_layout(path, OutputParams())


def test_a_format_that_is_set_is_written_to_a_file_of_any_name() -> None:
    assert output_layout("b.arrow", OutputParams(format=OutputFormat.JSONL)).format is OutputFormat.JSONL
