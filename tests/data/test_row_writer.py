"""Rows written to files: what a column type cannot represent is text, and memory does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data.tables import write

LARGE = 2**53 + 1  # No double has this value.


def written(tmp_path: Path, rows: list[dict[str, Any]], name: str = "a.parquet") -> Any:
    """The Parquet file of these rows."""
    write(tmp_path / name, [*rows])
    return pq.read_table(tmp_path / name)


@pytest.mark.parametrize("values", [[LARGE, 1.5], [1.5, LARGE], [np.int64(LARGE), 1.5]])
def test_integers_that_no_double_represents_are_text_beside_numbers(tmp_path: Path, values: list[Any]) -> None:
    table = written(tmp_path, [{"n": value} for value in values])
    assert table["n"].to_pylist() == [str(value) for value in values]


def test_large_integers_that_a_double_represents_are_numbers_beside_numbers(tmp_path: Path) -> None:
    table = written(tmp_path, [{"n": 2**60}, {"n": 1.5}])
    assert table["n"].to_pylist() == [float(2**60), 1.5]


def test_large_integers_alone_stay_integers(tmp_path: Path) -> None:
    table = written(tmp_path, [{"n": LARGE}, {"n": None}])
    assert table["n"].to_pylist() == [LARGE, None]
