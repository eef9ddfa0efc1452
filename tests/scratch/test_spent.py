"""The lines of the scratch file about attempts without an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import Conversation, Usage
from asyncinfer.scratch.file import ScratchFile, scratch_path
from asyncinfer.scratch.format import decode, encode
from asyncinfer.scratch.spent import decode_spent, encode_spent
from asyncinfer.scratch.view import RowFile
from tests.fakes import question

COUNT = st.integers(0, 10**12)
USAGES = st.builds(Usage, COUNT, COUNT, COUNT, cached_tokens=st.none() | COUNT, cost=st.none() | st.floats(0, 1e6))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 10**9 - 1), USAGES)
def test_line_says_what_was_written(key: bytes, n: int, usage: Usage) -> None:
    line = encode_spent(key, n, usage)
    spent = decode_spent(line)
    assert spent is not None
    assert (spent.key, spent.n, spent.usage) == (key, n, usage)
    assert decode(line, 0) is None


def test_each_line_has_a_number_of_its_own() -> None:
    numbers = {decode_spent(encode_spent(bytes(16), 0, Usage(1, 2, 3))) for _ in range(100)}
    assert len(numbers) == 100


@given(st.data())
def test_damaged_line_is_refused(data: st.DataObject) -> None:
    line = bytearray(encode_spent(bytes(16), 0, Usage(1, 2, 3, cost=0.5)))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert decode_spent(bytes(line)) is None
    assert decode_spent(bytes(line[:at])) is None


@pytest.mark.filterwarnings("error")
def test_lines_are_no_rows_and_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = scratch_path(tmp_path / "out.jsonl")
    path.parent.mkdir()
    answer: Conversation = question("a")
    lines = [encode_spent(bytes(16), 1, Usage(1, 2, 3)), encode(bytes(16), 0, 0, answer.to_json_bytes())]
    path.write_bytes(b"".join(lines))
    rows = RowFile(tmp_path / "out.jsonl")
    assert (len(list(rows.rows())), rows.unreadable) == (1, 0)
    rows.close()
    scratch = ScratchFile(path)
    scratch.acquire()
    assert [line.n for line in scratch.recover()] == [0]
    assert [(spent.n, line) for spent, line in scratch.spent_lines()] == [(1, lines[0])]
    assert not caplog.records
    for _ in scratch.keep(lambda key, n: n == 1):
        pass
    scratch.close()
    assert path.read_bytes() == lines[0]
