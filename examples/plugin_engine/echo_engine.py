"""An engine of your own. This one repeats the last message, which is useful in the tests of an application.

    python examples/plugin_engine/echo_engine.py                       # registers the engine in this program
    pip install examples/plugin_engine                                 # registers it for every program
    asyncinfer infer -i --engine ECHO --model.model_name parrot

An engine only answers one conversation at a time. Many rows, retries, limits, saving and blocking methods come from
the base class.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from asyncinfer import (
    BaseInferenceEngine,
    BoundEngine,
    CallSettings,
    Completion,
    Conversation,
    FinishReason,
    InferenceConfig,
    InferenceErrorType,
    RequestError,
    StreamDelta,
    Usage,
    build_engine,
    register_engine,
)


class EchoInferenceEngine(BaseInferenceEngine):
    """Answers with the words of the last message."""

    engine_type = "ECHO"

    @classmethod
    def get_supported_params(cls) -> set[str]:
        """The parameters that `_BoundEcho` reads. If others are set, a warning says that they have no effect."""
        return {"max_new_tokens"}

    def _bind(self, settings: CallSettings) -> BoundEngine:
        """Return the engine with the settings of one call: those of the engine, and those that the call sets."""
        return _BoundEcho(settings.generation.max_new_tokens)


class _BoundEcho(BoundEngine):
    def __init__(self, most_words: int | None) -> None:
        self._most_words = most_words

    async def generate(self, conversation: Conversation) -> Completion:
        """Answer as a whole. A `RequestError` fails this row, and no other one."""
        return Completion.from_deltas([delta async for delta in self.stream(conversation)])

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        """Answer in parts. Without this method, the whole answer would be the only part."""
        words = conversation.messages[-1].text.split()
        if not words:
            raise RequestError("there is nothing to repeat", error_type=InferenceErrorType.CONFIG)
        kept = words[: self._most_words]
        for place, word in enumerate(kept):
            await asyncio.sleep(0)  # Other tasks run here. A real engine would wait for its model.
            yield StreamDelta(word if place == 0 else f" {word}")
        # The last part says why the answer ends. Without a finish reason, the answer would count as incomplete.
        reason = FinishReason.STOP if len(kept) == len(words) else FinishReason.LENGTH
        yield StreamDelta(finish_reason=reason, usage=Usage(len(words), len(kept), len(words) + len(kept)))


async def main() -> None:
    register_engine("ECHO", EchoInferenceEngine)
    config = InferenceConfig.from_str("{engine: ECHO, model: {model_name: parrot}, generation: {max_new_tokens: 3}}")
    async with build_engine(config) as engine:
        for answered in await engine.ainfer(["Hello there!", "one two three four"]):
            print(answered.text, answered.metadata["finish_reason"], answered.metadata["usage"])


if __name__ == "__main__":
    asyncio.run(main())
