"""CSV files."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.errors import InputError
from tests.data.tables import opened, read, write

# A file with many null bytes looks like UTF-16, and is refused.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def written(tmp_path: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_values_may_have_line_breaks_quotes_and_commas(tmp_path: Path) -> None:
    path = written(tmp_path, 'id,text\n1,"a\nb"\n2,"say ""hi"", please"\n3,\n')
    assert read(path) == [
        {"id": "1", "text": "a\nb"},
        {"id": "2", "text": 'say "hi", please'},
        {"id": "3", "text": ""},
    ]


def test_rows_have_the_number_of_the_line_in_which_they_begin(tmp_path: Path) -> None:
    path = written(tmp_path, 'id,text\n1,"a\nb"\n\n2,c\n')
    assert [row.line for row in opened(path).rows()] == [2, 5]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path: Path, end: str) -> None:
    path = written(tmp_path, f"\ufeffid,text{end}1,a{end}")
    assert read(path) == [{"id": "1", "text": "a"}]


def test_tabs_separate_the_values_of_tsv_files(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a\tb\n1,5\t2\n", "a.tsv")) == [{"a": "1,5", "b": "2"}]


def test_delimiter_is_a_setting(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a;b\n1,5;2\n"), delimiter=";") == [{"a": "1,5", "b": "2"}]


def test_columns_are_those_of_the_first_line(tmp_path: Path) -> None:
    assert opened(written(tmp_path, "\n\na,b\n1,2\n")).column_names() == ("a", "b")


def test_row_with_too_few_values_is_a_bad_row_and_the_others_are_read(tmp_path: Path) -> None:
    rows = [*opened(written(tmp_path, "a,b\n1\n1,2,3\n4,5\n")).rows()]
    assert [row.line for row in rows] == [2, 3, 4]
    assert str(rows[0].values) == "has 1 values, but the file has 2 columns"
    assert str(rows[1].values) == "has 3 values, but the file has 2 columns"
    assert rows[2].values == {"a": "4", "b": "5"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; the first line should have the names of the columns"),
        ("a,b,a\n1,2,3\n", "line 1: the column 'a' occurs twice"),
        ('a,b\n1,2\n3,"never closed\n4,5\n', "line 3: not valid CSV: a quoted value is not closed"),
        ('a,b\n1,"x"y\n', "line 2: not valid CSV: "),
        (b"a,b\n1,2\n3,\xff\n", "line 3: not UTF-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "is in UTF-16 or UTF-32"),
    ],
)
def test_broken_file_is_an_error_with_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=f"a.csv: {message}"):
        read(path)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.csv: cannot be read: No such file"):
        read(tmp_path / "a.csv")


def test_long_values_are_read_and_the_limit_of_the_process_is_restored(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = written(tmp_path, f"a\n{'x' * 1_000_000}\n{'y' * 300_000}\n")
    rows = opened(path).rows()
    assert len(next(rows).values["a"]) == 1_000_000  # type: ignore[index]
    rows.close()
    assert csv.field_size_limit() == before


@given(st.lists(st.fixed_dictionaries({"a": TEXTS, 'b, "c"\n': TEXTS}), max_size=5))
def test_texts_survive_a_csv_file(rows: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        write(path, [{"a": "first", 'b, "c"\n': ""}, *rows])
        assert read(path)[1:] == rows


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_single_column_survives_with_its_empty_values(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        write(path, [{"a": value} for value in values])
        assert [row["a"] for row in read(path)] == values


def test_line_breaks_of_old_systems_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\r1,a\r")
    with pytest.raises(
        InputError, match="line 1: not valid CSV: a line break inside .* save the file with line breaks"
    ):
        read(tmp_path / "a.csv")
