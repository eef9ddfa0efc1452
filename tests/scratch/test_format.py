"""The lines of a scratch file, and how rows are recovered after a crash."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.scratch.format import Recovery, SavedLine, decode, encode, spans

keys = st.binary(min_size=16, max_size=16)
conversations = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3).map(json.dumps)
rows = st.builds(encode, keys, st.integers(0, 10**6), st.integers(0, 2**32 - 1), conversations.map(str.encode))


def recover(data: bytes) -> tuple[list[SavedLine], Recovery]:
    recovery = Recovery(io.BytesIO(data))
    return list(recovery.lines()), recovery


@given(keys, st.integers(0, 10**6), st.integers(0, 2**32 - 1), conversations)
def test_line_is_json_and_can_be_read_back(key: bytes, n: int, source: int, conversation: str) -> None:
    line = encode(key, n, source, conversation.encode())
    saved = decode(line, offset=100)
    assert saved is not None
    assert (saved.key, saved.n, saved.checksum) == (key, n, source)
    assert line[saved.offset - 100 :][: saved.length].decode() == conversation
    assert list(spans([line], 100)) == [(saved.offset, saved.length)]
    assert json.loads(line)["conversation"] == json.loads(conversation)


@given(st.lists(rows, max_size=6))
def test_all_complete_rows_of_a_truncated_file_are_recovered(lines: list[bytes]) -> None:
    data = b"".join(lines)
    ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
    for cut in range(len(data) + 1):
        saved, recovery = recover(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert len(saved) == whole
        assert recovery.end == (ends[whole - 1] if whole else 0)
        assert recovery.damaged == []


@given(st.lists(rows, min_size=1, max_size=4), st.data())
def test_damaged_line_is_skipped_and_the_others_are_kept(lines: list[bytes], data: st.DataObject) -> None:
    damaged = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[damaged]) - 2))
    changed = bytearray(lines[damaged])
    changed[at] = changed[at] ^ 1 if changed[at] ^ 1 != ord("\n") else ord("#")
    saved, recovery = recover(b"".join([*lines[:damaged], bytes(changed), *lines[damaged + 1 :]]))
    assert len(saved) == len(lines) - 1
    assert recovery.damaged == [damaged + 1]


@given(st.binary(max_size=200))
def test_random_bytes_are_not_a_line(garbage: bytes) -> None:
    assert decode(garbage, 0) is None
