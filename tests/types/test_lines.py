"""Files are read line by line, and long lines in parts."""

from __future__ import annotations

from io import BytesIO

import pytest

from asyncinfer.types import lines
from asyncinfer.types.lines import bounded_lines, is_cut, skip_line


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 4)


def test_lines_within_the_limit_are_read_whole() -> None:
    found = list(bounded_lines(BytesIO(b"abc\n\nde")))
    assert found == [b"abc\n", b"\n", b"de"]
    assert not any(map(is_cut, found))


def test_line_above_the_limit_is_read_in_parts() -> None:
    found = list(bounded_lines(BytesIO(b"abcdefgh\ni\n")))
    assert found == [b"abcd", b"efgh", b"\n", b"i\n"]
    assert [is_cut(part) for part in found] == [True, True, False, False]


@pytest.mark.parametrize("text", [b"abcdefghij\nk\n", b"abcd\nk\n", b"abcdefg\nk\n"])
def test_rest_of_a_cut_line_is_skipped(text: bytes) -> None:
    file = BytesIO(text)
    assert is_cut(next(bounded_lines(file)))
    skip_line(file)
    assert file.read() == b"k\n"
