"""The index finds the same rows as a dict would."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.scratch.index import KeyIndex

# Few distinct keys, some with the same 64-bit prefix, so that duplicates are frequent.
few_keys = st.lists(st.sampled_from([bytes(16), bytes(15) + b"\1", b"\1" * 16, b"\xff" * 16]), max_size=30)
many_keys = st.lists(st.binary(min_size=16, max_size=16), max_size=30)


@given(many_keys)
def test_every_row_is_found_by_its_key_and_occurrence(keys: list[bytes]) -> None:
    index = KeyIndex(b"".join(keys))
    occurrences = index.occurrences()
    seen: Counter[bytes] = Counter()
    for row, key in enumerate(keys):
        n = seen[key]
        assert (occurrences[row] if occurrences else 0) == n
        assert index.find(key, n) == row
        assert index.key(row) == key
        seen[key] += 1
    for key, count in seen.items():
        assert index.find(key, count) is None


@given(few_keys)
def test_row_with_another_key_is_never_found(keys: list[bytes]) -> None:
    index = KeyIndex(b"".join(keys))
    for key in set(keys):
        for n in range(len(keys)):
            row = index.find(key, n)
            assert row is None or keys[row] == key


def test_empty_index_finds_no_row() -> None:
    assert KeyIndex(b"").find(bytes(16), 0) is None
    assert KeyIndex(b"").occurrences() is None
