"""The prompt of a row as a llama.cpp sequence holds it: tokens, and images between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class PromptImage(NamedTuple):
    """An image, or a part of an image, in a prompt.

    Args:
        start: The first position in the sequence.
        positions: How many positions it takes. Fewer than `tokens` if the model counts positions in two dimensions.
        tokens: How many tokens of the context it takes.
        chunk: The projector's `mtmd_input_chunk`.
    """

    start: int
    positions: int
    tokens: int
    chunk: Any


@dataclass(slots=True, eq=False)
class Prompt:
    """What a sequence holds.

    Args:
        positions: The token at each position. All positions of an image hold the same negative number. Equal images
            have equal numbers, different images have different ones.
        close: Frees the chunks of the images.
    """

    positions: list[int]
    images: Sequence[PromptImage] = ()
    close: Callable[[], None] = field(default=lambda: None)

    @property
    def size(self) -> int:
        """How many tokens of the context the prompt takes."""
        return self.tokens_before(len(self.positions))

    def tokens_before(self, position: int) -> int:
        """How many tokens of the context the prompt takes before a position."""
        return position + sum(image.tokens - image.positions for image in self.images if image.start < position)

    def image_at(self, position: int) -> PromptImage | None:
        """The image that begins at a position."""
        return next((image for image in self.images if image.start == position), None)

    def end_of_text(self, position: int) -> int:
        """Where the next image begins, or the prompt ends."""
        return next((image.start for image in self.images if image.start >= position), len(self.positions))
