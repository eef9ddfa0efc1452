"""The cache keeps the values that were used most recently."""

from __future__ import annotations

from asyncinfer.types.lru_cache import LRUCache


def test_value_is_made_once_and_the_oldest_is_forgotten() -> None:
    cache, made = LRUCache[str, str](2), list[str]()

    def value(key: str, *, keep: bool = True) -> str:
        return cache.get(key, lambda: made.append(key) or key.upper(), keep=keep)

    assert [value("a"), value("b"), value("a"), value("c"), value("a"), value("b")] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]


def test_value_that_may_not_be_kept_is_made_each_time() -> None:
    cache, made = LRUCache[str, str](2), list[str]()
    for _ in range(2):
        cache.get("a", lambda: made.append("a") or "A", keep=False)
    assert made == ["a", "a"]


def test_value_may_be_none() -> None:
    cache, made = LRUCache[str, None](2), list[str]()
    for _ in range(2):
        cache.get("a", lambda: made.append("a"))
    assert made == ["a"]
