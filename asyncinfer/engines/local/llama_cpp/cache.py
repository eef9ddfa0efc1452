"""Assigns the sequences of a llama.cpp context to rows, and reuses prompts that are already evaluated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

# A gain of fewer tokens is worth neither a copy nor waiting for another row.
MIN_GAIN = 32


class Memory(Protocol):
    def truncate(self, sequence: int, length: int) -> int: ...
    def copy(self, source: int, target: int) -> None: ...


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence of the context.

    Only prompts are reused, never answers. A prompt is evaluated many tokens at a time, an answer one by one, and the
    kernels for both may round differently. Earlier rows must not change the answer of a later row.

    Attributes:
        prompt: What the sequence is going to hold.
        evaluated: How many tokens of the prompt are evaluated already.
        busy: Whether a row uses the sequence.
        last_used: The larger, the more recently the sequence was used.
    """

    number: int
    prompt: list[int] = field(default_factory=list[int])
    evaluated: int = 0
    busy: bool = False
    last_used: int = 0


class PrefixCache:
    """The sequences of a context. A free sequence keeps the prompt of its last row. The least recently used one is
    overwritten first.
    """

    def __init__(self, memory: Memory, sequences: int) -> None:
        self._memory = memory
        self.slots = [Slot(number) for number in range(sequences)]
        self._clock = itertools.count(1)

    def acquire(self, prompt: list[int]) -> Slot | None:
        """A slot for a row, with as much of its prompt as any sequence holds. None if the row should wait, because a
        row in progress is going to hold more of it.
        """
        # At least two tokens are evaluated: kernels may round differently for a single one.
        most = _without_cut_image(prompt, len(prompt) - 2)
        common = {slot.number: min(_common_prefix(slot.prompt, prompt), most) for slot in self.slots}
        ready = {slot.number: min(common[slot.number], slot.evaluated) for slot in self.slots}
        source = max(self.slots, key=lambda slot: ready[slot.number])
        pending = max((common[s.number] for s in self.slots if s.busy and s.evaluated < len(s.prompt)), default=0)
        if _is_worthwhile(prompt, ready[source.number], pending):
            return None
        slot = self._choose_slot(source, ready)
        if source is not slot and _is_worthwhile(prompt, ready[slot.number], ready[source.number]):
            self._memory.copy(source.number, slot.number)
            kept = ready[source.number]
        else:
            kept = ready[slot.number]
        slot.evaluated = self._memory.truncate(slot.number, max(kept, 0))
        slot.prompt, slot.busy, slot.last_used = prompt, True, next(self._clock)
        return slot

    def release(self, slot: Slot) -> None:
        """The row no longer needs its slot. The evaluated part of the prompt stays."""
        slot.busy = False
        slot.prompt = slot.prompt[: slot.evaluated]

    def find_gap(self) -> tuple[Slot, Slot] | None:
        """A busy slot and the free slot it should move to, so that busy slots are adjacent. None if they are."""
        busy = [slot.number for slot in self.slots if slot.busy]
        if not busy or busy[-1] - busy[0] == len(busy) - 1:
            return None
        free = next(slot for slot in self.slots[busy[0] :] if not slot.busy)
        return self.slots[busy[-1]], free

    def move(self, source: Slot, target: Slot) -> None:
        """Move the row of `source` to `target`, and release `source`."""
        self._memory.copy(source.number, target.number)
        target.prompt, target.evaluated, target.busy = source.prompt, source.evaluated, True
        target.last_used = next(self._clock)
        self._memory.truncate(source.number, source.evaluated)
        self.release(source)

    def _choose_slot(self, source: Slot, ready: dict[int, int]) -> Slot:
        """The free slot to use: one next to the busy slots if there are any. Of these, the slot that holds the prompt,
        or else the least recently used one.
        """
        free = self._adjacent_free_slots()
        if source in free and 2 * ready[source.number] >= len(source.prompt):
            return source
        return min(free, key=lambda slot: slot.last_used)

    def _adjacent_free_slots(self) -> list[Slot]:
        busy = [slot.number for slot in self.slots if slot.busy]
        free = [slot for slot in self.slots if not slot.busy]
        if not busy:
            return free
        first, last = min(busy), max(busy)
        inside = [slot for slot in free if first < slot.number < last]
        return inside or [slot for slot in free if slot.number in (first - 1, last + 1)]


def _is_worthwhile(prompt: Sequence[int], have: int, offered: int) -> bool:
    """Whether a longer part of the prompt is worth a copy. It is if the gain contains an image."""
    return offered - have >= MIN_GAIN or any(position < 0 for position in prompt[max(have, 0) : max(offered, 0)])


def _without_cut_image(prompt: Sequence[int], length: int) -> int:
    """The length, shortened so that it does not cut an image. An image is a run of one negative number."""
    while 0 < length < len(prompt) and prompt[length] < 0 and prompt[length] == prompt[length - 1]:
        length -= 1
    return length


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both prompts have in common at the beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
