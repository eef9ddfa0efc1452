"""Which sequence of the context a row gets, and what of its prompt need not be computed again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

# A gain of fewer tokens is not worth a copy, nor waiting for another row.
WORTH_COPYING = 32


class Memory(Protocol):
    def cut(self, sequence: int, length: int) -> int: ...
    def copy(self, source: int, target: int) -> None: ...


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence. `prompt` is what it is to hold, of which `read` tokens are evaluated; `busy` while a row uses it.

    Only prompts are remembered: a prompt's tokens are evaluated many at a time, an answer's one by one, by
    kernels that may round otherwise, and which rows came before must not change an answer.
    """

    number: int
    prompt: list[int] = field(default_factory=list[int])
    read: int = 0
    busy: bool = False
    used: int = 0


class PrefixCache:
    """The sequences of a context. One that rests keeps the prompt of its last row until it is needed: the one used
    longest ago goes first.
    """

    def __init__(self, memory: Memory, sequences: int) -> None:
        self._memory = memory
        self.slots = [Slot(number) for number in range(sequences)]
        self._clock = itertools.count(1)

    def take(self, prompt: list[int]) -> Slot | None:
        """A slot for a row, with `read` tokens of its prompt there already, from whichever sequence holds most
        of them. None if a row in work is about to have more of them: it is worth waiting for.
        """
        most = _uncut(prompt, len(prompt) - 2)  # One token alone may be rounded otherwise.
        common = {slot.number: min(_common(slot.prompt, prompt), most) for slot in self.slots}
        ready = {slot.number: min(common[slot.number], slot.read) for slot in self.slots}
        source = max(self.slots, key=lambda slot: ready[slot.number])
        coming = max((common[s.number] for s in self.slots if s.busy and s.read < len(s.prompt)), default=0)
        if _worth(prompt, ready[source.number], coming):
            return None
        slot = self._place(source, ready)
        if source is not slot and _worth(prompt, ready[slot.number], ready[source.number]):
            self._memory.copy(source.number, slot.number)
            kept = ready[source.number]
        else:
            kept = ready[slot.number]
        slot.read = self._memory.cut(slot.number, max(kept, 0))
        slot.prompt, slot.busy, slot.used = prompt, True, next(self._clock)
        return slot

    def leave(self, slot: Slot) -> None:
        """The row is done with its slot; what was read of the prompt stays."""
        slot.busy = False
        slot.prompt = slot.prompt[: slot.read]

    def gap(self) -> tuple[Slot, Slot] | None:
        """A busy slot and the free one that it should move to, so that busy ones are neighbours."""
        busy = [slot.number for slot in self.slots if slot.busy]
        if not busy or busy[-1] - busy[0] == len(busy) - 1:
            return None
        free = next(slot for slot in self.slots[busy[0] :] if not slot.busy)
        return self.slots[busy[-1]], free

    def move(self, source: Slot, target: Slot) -> None:
        """Let the row of `source` go on in `target`; `source` then rests."""
        self._memory.copy(source.number, target.number)
        target.prompt, target.read, target.busy, target.used = source.prompt, source.read, True, next(self._clock)
        self._memory.cut(source.number, source.read)
        self.leave(source)

    def _place(self, source: Slot, ready: dict[int, int]) -> Slot:
        """The free slot to use: a neighbour of the busy ones if there are any; else where the prompt is; else the one
        used longest ago.
        """
        free = self._neighbours()
        if source in free and 2 * ready[source.number] >= len(source.prompt):
            return source
        return min(free, key=lambda slot: slot.used)

    def _neighbours(self) -> list[Slot]:
        busy = [slot.number for slot in self.slots if slot.busy]
        free = [slot for slot in self.slots if not slot.busy]
        if not busy:
            return free
        first, last = min(busy), max(busy)
        inside = [slot for slot in free if first < slot.number < last]
        return inside or [slot for slot in free if slot.number in (first - 1, last + 1)]


def _worth(prompt: Sequence[int], have: int, gained: int) -> bool:
    """Whether having so much of a prompt instead is worth a copy. Any picture in it is."""
    return gained - have >= WORTH_COPYING or any(place < 0 for place in prompt[max(have, 0) : max(gained, 0)])


def _uncut(prompt: Sequence[int], length: int) -> int:
    """The length, or what is left without the picture that it would cut: those are negative numbers, all the same."""
    while 0 < length < len(prompt) and prompt[length] < 0 and prompt[length] == prompt[length - 1]:
        length -= 1
    return length


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
