"""An engine that answers each conversation with the same parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asyncinfer import Completion, Conversation, ModelParams, StreamDelta
from tests.fakes import SimpleEngine


class DeltaEngine(SimpleEngine):
    """Answers with these parts. `asked` keeps the conversations."""

    def __init__(self, *deltas: StreamDelta, model: str = "big") -> None:
        super().__init__(ModelParams(model_name=model))
        self._deltas = deltas
        self.asked: list[Conversation] = []

    async def _generate(self, conversation: Conversation) -> Completion:
        self.asked.append(conversation)
        return Completion.from_deltas(self._deltas)

    async def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:  # pyright: ignore
        self.asked.append(conversation)
        for delta in self._deltas:
            yield delta
