"""What a sequence of llama.cpp is to hold: tokens, and pictures between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Picture(NamedTuple):
    """What the projector makes of an image, or of a part of one: `positions` in the sequence from `start` on, and
    `tokens` of the context. Where a model counts positions in two dimensions, they are fewer.
    """

    start: int
    positions: int
    tokens: int
    chunk: Any


@dataclass(slots=True, eq=False)
class Prompt:
    """What a sequence is to hold, by position: a token; or, for a picture, a negative number that only the same picture
    has, as often as it takes positions.
    """

    places: list[int]
    pictures: Sequence[Picture] = ()
    close: Callable[[], None] = field(default=lambda: None)

    @property
    def size(self) -> int:
        """Tokens of the context that it takes."""
        return self.tokens(len(self.places))

    def tokens(self, position: int) -> int:
        """Tokens of the context that are taken up to a position."""
        return position + sum(p.tokens - p.positions for p in self.pictures if p.start < position)

    def picture(self, position: int) -> Picture | None:
        """The picture that begins there."""
        return next((p for p in self.pictures if p.start == position), None)

    def end_of_text(self, position: int) -> int:
        """Where the next picture begins, or the prompt ends."""
        return next((p.start for p in self.pictures if p.start >= position), len(self.places))
