"""What a model's thread receives for a row: one conversation, and the settings in effect for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.structured.constraint import Constraint
from asyncinfer.engines.local.structured.structure import Structure, structure_of
from asyncinfer.types.conversation import Conversation


class Request(NamedTuple):
    """One row for a model.

    Args:
        constraint: What constrains the answer. None for free text, and before `with_constraint` was called.
        stream: Whether the caller reads the answer while it grows.
    """

    conversation: Conversation
    generation: GenerationParams
    model: ModelParams
    constraint: Constraint | None = None
    stream: bool = False

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that this answer may use, in OpenAI's format."""
        if self.generation.tool_choice == "none":
            return []
        return [tool.model_dump(mode="json", exclude_none=True) for tool in self.conversation.tools or ()]

    def with_constraint(self, start: Callable[[Structure], Constraint]) -> Request:
        """The request with the constraint that `start` makes; unchanged if the answer is free text.

        Raises:
            RequestError: The structure is not supported.
        """
        structure = structure_of(self.generation, self.tools)
        return self if structure is None else self._replace(constraint=start(structure))
