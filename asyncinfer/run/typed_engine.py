"""An engine whose answers have a schema: the engine constrains them to it, or the prompt describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asyncinfer.run.bound_engine import BoundEngine, ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta


class TypedEngine(BoundEngine):
    """Answers each conversation with one of two forms of an engine.

    Args:
        guided: The engine that constrains answers to the schema; None if it cannot.
        free: The engine without the constraint.
        instruction: Describes the schema to the model, for answers that are not constrained.
        guides_with_tools: Whether a constrained answer can call tools. Otherwise, answers to conversations with tools
            are not constrained.
    """

    def __init__(
        self, guided: BoundEngine | None, free: BoundEngine, instruction: str, *, guides_with_tools: bool
    ) -> None:
        self._guided, self._free, self._instruction = guided, free, instruction
        self.guides_with_tools = guides_with_tools
        self._at: dict[int, TypedEngine] = {}
        self.supported_parameters, self.dropped_parameters = free.supported_parameters, free.dropped_parameters

    def at(self, endpoint: int) -> TypedEngine:
        if endpoint not in self._at:
            guided = self._guided.at(endpoint) if self._guided is not None else None
            free = self._free.at(endpoint)
            self._at[endpoint] = TypedEngine(guided, free, self._instruction, guides_with_tools=self.guides_with_tools)
        return self._at[endpoint]

    async def generate(self, conversation: Conversation) -> Completion:
        engine, asked = self._chosen(conversation)
        completion = await engine.generate(asked)
        self.dropped_parameters |= engine.dropped_parameters
        return completion

    def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        engine, asked = self._chosen(conversation)
        return engine.stream(asked)

    def as_sent(self, conversation: Conversation) -> Conversation | None:
        engine, asked = self._chosen(conversation)
        # The settings of the call are those of the guided form, if there is one.
        return asked if self._guided is None or engine is self._guided else None

    def release_idle(self) -> None:
        self._free.release_idle()

    def why_waiting(self) -> str | None:
        return self._free.why_waiting()

    def _chosen(self, conversation: Conversation) -> tuple[BoundEngine, Conversation]:
        """Return the form of the engine that answers, and the conversation that it gets."""
        if self._guided is not None and (not conversation.tools or self.guides_with_tools):
            return self._guided, conversation
        return self._free, _instructed(conversation, self._instruction)


def _instructed(conversation: Conversation, instruction: str) -> Conversation:
    """Return the conversation with an instruction at the end of its first system message, or in one of its own."""
    first, *rest = conversation.messages
    if first.role is not Role.SYSTEM or not isinstance(first.content, str):
        messages = [Message(role=Role.SYSTEM, content=instruction), first, *rest]
    else:
        messages = [first.model_copy(update={"content": f"{first.content}\n\n{instruction}"}), *rest]
    return conversation.model_copy(update={"messages": messages})
