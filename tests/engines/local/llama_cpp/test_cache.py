"""Sequences are assigned to rows, and evaluated prompts are reused."""

from __future__ import annotations

import pytest

from asyncinfer.engines.local.llama_cpp.cache import PrefixCache, Slot

SYSTEM = list(range(100))


class Memory:
    """Records copies. Without `can_truncate`, it is the memory of a model that cannot remove tokens."""

    def __init__(self, can_truncate: bool = True) -> None:
        self.can_truncate, self.copies = can_truncate, list[tuple[int, int]]()

    def truncate(self, sequence: int, length: int) -> int:
        return length if self.can_truncate else 0

    def copy(self, source: int, target: int) -> None:
        self.copies.append((source, target))


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def cache(memory: Memory) -> PrefixCache:
    return PrefixCache(memory, 4)


def prompt(*end: int) -> list[int]:
    return [*SYSTEM, *(1000 + token for token in end)]


def acquire(cache: PrefixCache, tokens: list[int]) -> Slot:
    slot = cache.acquire(tokens)
    assert slot is not None
    return slot


def evaluate(cache: PrefixCache, tokens: list[int]) -> Slot:
    slot = acquire(cache, tokens)
    slot.evaluated = len(tokens)
    return slot


def test_conversation_continues_in_its_sequence(cache: PrefixCache, memory: Memory) -> None:
    first = evaluate(cache, prompt(1, 2, 3))
    cache.release(first)
    again = acquire(cache, prompt(1, 2, 3, 4, 5, 6))
    assert (again, again.evaluated, memory.copies) == (first, 103, [])


def test_last_two_tokens_are_always_evaluated_again(cache: PrefixCache) -> None:
    cache.release(evaluate(cache, prompt(1)))
    assert acquire(cache, prompt(1)).evaluated == 99


def test_prefix_is_copied_from_a_row_in_progress(cache: PrefixCache, memory: Memory) -> None:
    first = evaluate(cache, prompt(1, 2))
    second = acquire(cache, prompt(3, 4))
    assert second is not first
    assert (second.evaluated, memory.copies) == (100, [(first.number, second.number)])


def test_row_waits_for_a_prefix_that_is_being_evaluated(cache: PrefixCache) -> None:
    first = acquire(cache, prompt(1, 2))
    first.evaluated = 50
    assert cache.acquire(prompt(3, 4)) is None
    assert acquire(cache, [7, 8, 9]).evaluated == 0
    first.evaluated = 100
    assert acquire(cache, prompt(3, 4)).evaluated == 100


def test_row_does_not_wait_for_a_released_slot(cache: PrefixCache) -> None:
    first = acquire(cache, prompt(1, 2))
    first.evaluated = 50
    cache.release(first)
    assert acquire(cache, prompt(3, 4)).evaluated == 50


def test_short_prefix_is_not_copied(cache: PrefixCache, memory: Memory) -> None:
    evaluate(cache, [1, 2, 3, 4, 5])
    assert acquire(cache, [1, 2, 3, 9, 9]).evaluated == 0
    assert memory.copies == []


def test_long_prompt_is_not_overwritten_by_one_that_shares_its_beginning(cache: PrefixCache, memory: Memory) -> None:
    long = evaluate(cache, prompt(*range(300)))
    cache.release(long)
    other = evaluate(cache, prompt(400, 401))
    assert other is not long
    cache.release(other)
    assert acquire(cache, prompt(*range(300), 500, 501)).evaluated == 400


def test_least_recently_used_prompt_is_overwritten_first(cache: PrefixCache) -> None:
    slots = [evaluate(cache, [10 * n] * 40) for n in range(1, 5)]
    for slot in slots:
        cache.release(slot)
    assert acquire(cache, [7, 7, 7]) is slots[0]


def test_busy_slots_are_kept_adjacent(cache: PrefixCache, memory: Memory) -> None:
    slots = [evaluate(cache, [10 * n] * 40) for n in range(1, 5)]
    cache.release(slots[1])
    assert cache.find_gap() == (slots[3], slots[1])
    cache.move(slots[3], slots[1])
    assert [slot.number for slot in cache.slots if slot.busy] == [0, 1, 2]
    assert (slots[1].prompt, slots[1].evaluated, cache.find_gap()) == ([40] * 40, 40, None)


def test_model_that_cannot_truncate_evaluates_the_whole_prompt() -> None:
    cache = PrefixCache(Memory(can_truncate=False), 2)
    cache.release(evaluate(cache, prompt(1)))
    assert acquire(cache, prompt(2, 3)).evaluated == 0


# All positions of an image hold the same negative number, which only equal images have.
IMAGE = [-7] * 4


def test_image_is_always_copied(cache: PrefixCache, memory: Memory) -> None:
    first = evaluate(cache, [1, 2, *IMAGE, 3, 4])
    second = acquire(cache, [1, 2, *IMAGE, 5, 6])
    assert (second.evaluated, memory.copies) == (6, [(first.number, second.number)])


def test_row_waits_for_an_image_that_is_being_evaluated(cache: PrefixCache) -> None:
    first = acquire(cache, [1, 2, *IMAGE, 3, 4])
    assert cache.acquire([1, 2, *IMAGE, 5, 6]) is None
    assert acquire(cache, [1, 2, -8, -8, -8, -8, 5, 6]) is not first


def test_different_image_is_not_a_common_prefix(cache: PrefixCache) -> None:
    cache.release(evaluate(cache, [1, 2, *IMAGE, 3, 4]))
    assert acquire(cache, [1, 2, -8, -8, -8, -8, 3, 4]).evaluated in (0, 2)


@pytest.mark.parametrize("end", [[], [3], [3, 4]])
def test_no_image_is_cut(cache: PrefixCache, end: list[int]) -> None:
    cache.release(evaluate(cache, [*SYSTEM, *IMAGE, *end]))
    assert acquire(cache, [*SYSTEM, *IMAGE, *end]).evaluated == (104 if len(end) > 1 else 100)
