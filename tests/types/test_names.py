"""Names in messages."""

from __future__ import annotations

from asyncinfer.types.names import listed_names


def test_names_are_listed_in_their_order() -> None:
    assert listed_names(["b", 1, "a"]) == "b, 1, a"


def test_white_space_at_an_end_is_seen() -> None:
    assert listed_names(["a", " id", "", "b c"]) == "a, ' id', '', b c"


def test_many_names_are_cut() -> None:
    assert listed_names(range(100)).endswith(", 28, 29, and 70 more")
