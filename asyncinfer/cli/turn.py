"""One question and its answer, which appears while it is generated."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from asyncinfer.cli.answer_view import answer_view
from asyncinfer.cli.messages import say
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

CUT = "(The answer is cut off: generation.max_new_tokens, or the length that the model allows, is reached.)"


@dataclass
class Turn:
    """What is known of an answer.

    Attributes:
        parts: The parts of the text.
        reason: Why the answer ended; None if that is unknown.
        usage: The tokens of the question and of the answer; None if they are unknown.
        seconds: From the first part to the last one.
    """

    parts: list[str] = field(default_factory=list[str])
    reason: FinishReason | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    _first: float | None = None

    def add(self, delta: StreamDelta) -> None:
        """Note a part of the answer."""
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        self.seconds = now - self._first
        self.parts.append(delta.content)
        self.reason = delta.finish_reason or self.reason
        self.usage = delta.usage or self.usage

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def usage_line(self) -> str:
        """Return the tokens of the question and of the answer, for a person. Empty if they are unknown."""
        if self.usage is None:
            return ""
        rate = f", {self.usage.completion_tokens / self.seconds:.0f} tokens/s" if self.seconds > 0 else ""
        return f"({self.usage.prompt_tokens} tokens in, {self.usage.completion_tokens} tokens out{rate})"


async def stream_answer(
    turn: Turn, engine: BaseInferenceEngine, conversation: Conversation, config: InferenceConfig, *, markdown: bool
) -> None:
    """Show the answer while it is generated. `turn` gets its parts, and has those that arrived before an error.

    Raises:
        RequestError: There is no answer, or it is not complete.
    """
    async with answer_view(markdown=markdown) as show, engine.astream(conversation, config) as deltas:
        async for delta in deltas:
            turn.add(delta)
            await show(delta.content)
    if turn.reason is FinishReason.LENGTH:
        say(CUT)
