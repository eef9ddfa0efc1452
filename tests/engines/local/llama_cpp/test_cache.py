"""Which sequence a row gets, and what it finds there."""

from __future__ import annotations

import pytest

from asyncinfer.engines.local.llama_cpp.cache import PrefixCache, Slot

SYSTEM = list(range(100))


class Memory:
    """What each sequence holds, by length only; a kind of model that `forgets` cannot be cut."""

    def __init__(self, forgets: bool = False) -> None:
        self.forgets, self.copies = forgets, list[tuple[int, int]]()

    def cut(self, sequence: int, length: int) -> int:
        return 0 if self.forgets else length

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


def take(cache: PrefixCache, tokens: list[int]) -> Slot:
    slot = cache.take(tokens)
    assert slot is not None
    return slot


def read(cache: PrefixCache, tokens: list[int]) -> Slot:
    slot = take(cache, tokens)
    slot.read = len(tokens)
    return slot


def test_the_same_conversation_goes_on_in_its_sequence(cache: PrefixCache, memory: Memory) -> None:
    first = read(cache, prompt(1, 2, 3))
    cache.leave(first)
    again = take(cache, prompt(1, 2, 3, 4, 5, 6))
    assert (again, again.read, memory.copies) == (first, 103, [])


def test_two_tokens_are_always_read_anew(cache: PrefixCache) -> None:
    cache.leave(read(cache, prompt(1)))
    assert take(cache, prompt(1)).read == 99


def test_a_prefix_is_copied_from_a_row_in_work(cache: PrefixCache, memory: Memory) -> None:
    first = read(cache, prompt(1, 2))
    second = take(cache, prompt(3, 4))
    assert second is not first
    assert (second.read, memory.copies) == (100, [(first.number, second.number)])


def test_a_row_waits_for_a_prefix_that_is_being_read(cache: PrefixCache) -> None:
    first = take(cache, prompt(1, 2))
    first.read = 50
    assert cache.take(prompt(3, 4)) is None
    assert take(cache, [7, 8, 9]).read == 0
    first.read = 100
    assert take(cache, prompt(3, 4)).read == 100


def test_nobody_waits_for_a_row_that_left(cache: PrefixCache) -> None:
    first = take(cache, prompt(1, 2))
    first.read = 50
    cache.leave(first)
    assert take(cache, prompt(3, 4)).read == 50


def test_a_few_tokens_are_not_worth_a_copy(cache: PrefixCache, memory: Memory) -> None:
    read(cache, [1, 2, 3, 4, 5])
    assert take(cache, [1, 2, 3, 9, 9]).read == 0
    assert memory.copies == []


def test_a_long_conversation_is_not_given_up_for_its_beginning(cache: PrefixCache, memory: Memory) -> None:
    long = read(cache, prompt(*range(300)))
    cache.leave(long)
    other = read(cache, prompt(400, 401))
    assert other is not long
    cache.leave(other)
    assert take(cache, prompt(*range(300), 500, 501)).read == 400


def test_the_prompt_used_longest_ago_goes_first(cache: PrefixCache) -> None:
    slots = [read(cache, [10 * n] * 40) for n in range(1, 5)]
    for slot in slots:
        cache.leave(slot)
    assert take(cache, [7, 7, 7]) is slots[0]


def test_rows_in_work_are_neighbours(cache: PrefixCache, memory: Memory) -> None:
    slots = [read(cache, [10 * n] * 40) for n in range(1, 5)]
    cache.leave(slots[1])
    assert cache.gap() == (slots[3], slots[1])
    cache.move(slots[3], slots[1])
    assert [slot.number for slot in cache.slots if slot.busy] == [0, 1, 2]
    assert (slots[1].prompt, slots[1].read, cache.gap()) == ([40] * 40, 40, None)


def test_a_model_that_cannot_go_back_reads_the_whole_prompt() -> None:
    cache = PrefixCache(Memory(forgets=True), 2)
    cache.leave(read(cache, prompt(1)))
    assert take(cache, prompt(2, 3)).read == 0


# Pictures: as often as they take positions, a negative number that only the same picture has.
PICTURE = [-7] * 4


def test_a_picture_is_always_worth_a_copy(cache: PrefixCache, memory: Memory) -> None:
    first = read(cache, [1, 2, *PICTURE, 3, 4])
    second = take(cache, [1, 2, *PICTURE, 5, 6])
    assert (second.read, memory.copies) == (6, [(first.number, second.number)])


def test_a_row_waits_for_a_picture_that_is_being_read(cache: PrefixCache) -> None:
    first = take(cache, [1, 2, *PICTURE, 3, 4])
    assert cache.take([1, 2, *PICTURE, 5, 6]) is None
    assert take(cache, [1, 2, -8, -8, -8, -8, 5, 6]) is not first


def test_another_picture_is_no_known_prefix(cache: PrefixCache) -> None:
    cache.leave(read(cache, [1, 2, *PICTURE, 3, 4]))
    assert take(cache, [1, 2, -8, -8, -8, -8, 3, 4]).read in (0, 2)


@pytest.mark.parametrize("end", [[], [3], [3, 4]])
def test_no_picture_is_cut(cache: PrefixCache, end: list[int]) -> None:
    cache.leave(read(cache, [*SYSTEM, *PICTURE, *end]))
    assert take(cache, [*SYSTEM, *PICTURE, *end]).read == (104 if len(end) > 1 else 100)
