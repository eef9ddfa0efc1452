"""Decides which replica gets a row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

from asyncinfer.types.conversation import Conversation

R = TypeVar("R", bound=Hashable)

# Conversations with the same first characters share a prompt prefix.
_PREFIX_CHARACTERS = 1_024
# The most prefixes that are remembered.
_MOST_PREFIXES = 4_096


class Routing(Generic[R]):
    """Chooses the least loaded replica, or the one that knows the prompt prefix if it is not much busier.

    Each operation takes the same time, however many replicas there are.

    Args:
        room: The most rows of one replica at the same time.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        # How many more rows than the least loaded replica the one that knows the prefix may have.
        self._slack = max(1, room // 4)
        self._loads: dict[R, int] = {}
        # The replicas with each load. The one that has had this load for the longest time comes first.
        self._levels: list[dict[R, None]] = [{} for _ in range(room + 1)]
        self._lowest = 0
        self._by_prefix: OrderedDict[int, R] = OrderedDict()

    def __len__(self) -> int:
        return len(self._loads)

    def __contains__(self, replica: R) -> bool:
        return replica in self._loads

    def add(self, replica: R) -> None:
        """A replica without rows can be chosen from now on."""
        self._loads[replica] = 0
        self._levels[0][replica] = None
        self._lowest = 0

    def remove(self, replica: R) -> None:
        """The replica is not chosen any more."""
        load = self._loads.pop(replica, None)
        if load is not None:
            del self._levels[load][replica]

    def change(self, replica: R, load: int) -> None:
        """The replica has `load` rows now."""
        old = self._loads.get(replica)
        if old is None or old == load:
            return
        del self._levels[old][replica]
        self._levels[load][replica] = None
        self._loads[replica] = load
        self._lowest = min(self._lowest, load)

    def choose(self, prefix: int) -> R | None:
        """The replica for a row with this prefix; None if no replica has room."""
        lowest = self._lowest_load()
        if lowest is None:
            return None
        known = self._by_prefix.get(prefix)
        load = self._loads.get(known, self._room) if known is not None else self._room
        if known is not None and load < self._room and load <= lowest + self._slack:
            chosen = known
        else:
            chosen = next(iter(self._levels[lowest]))
        self._remember(prefix, chosen)
        return chosen

    def choose_outside(self, excluded: Collection[R]) -> R | None:
        """The least loaded replica that is not excluded; None if none of them has room."""
        free = [replica for replica, load in self._loads.items() if load < self._room and replica not in excluded]
        return min(free, key=self._loads.__getitem__, default=None)

    def _lowest_load(self) -> int | None:
        """The load of the least loaded replica; None if no replica has room."""
        while self._lowest < self._room and not self._levels[self._lowest]:
            self._lowest += 1
        return self._lowest if self._lowest < self._room else None

    def _remember(self, prefix: int, replica: R) -> None:
        self._by_prefix[prefix] = replica
        self._by_prefix.move_to_end(prefix)
        if len(self._by_prefix) > _MOST_PREFIXES:
            self._by_prefix.popitem(last=False)


def prefix_of(conversation: Conversation) -> int:
    """A number that conversations with the same beginning have in common."""
    texts: list[str] = []
    missing = _PREFIX_CHARACTERS
    for message in conversation.messages:
        if missing <= 0:
            break
        text = message.content if isinstance(message.content, str) else message.compute_flattened_text_content()
        texts.append(text[:missing])
        missing -= len(text)
    return hash(tuple(texts))
