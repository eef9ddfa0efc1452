"""Engines that do as they are told, and a clock that tests move."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from asyncinfer import (
    Conversation,
    FinishReason,
    InferenceConfig,
    InferenceEngineType,
    InferenceErrorType,
    Message,
    ModelParams,
    RemoteParams,
    RequestError,
    Role,
    Usage,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.request import Request
from asyncinfer.run.bound_engine import BoundEngine, CallSettings, ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta

Script = Callable[[str, int], Awaitable[None] | None]


def question(text: str, **more: object) -> Conversation:
    """A conversation of one user message."""
    return Conversation.from_dict({"messages": [{"role": "user", "content": text}], **more})


def questions(count: int) -> list[Conversation]:
    return [question(f"question {i}", conversation_id=f"q{i}") for i in range(count)]


def write_jsonl(path: Path, conversations: Iterable[Conversation]) -> Path:
    path.write_text("".join(c.to_json() + "\n" for c in conversations))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer_to(text: str) -> str:
    return f"answer to {text}"


_SETTLES = 20  # turns of the loop within which a chain of wake-ups has run its course


class FakeClock:
    """Virtual time: it jumps to the next alarm once the tasks have had their turns since the last one was set."""

    def __init__(self) -> None:
        self._now = 0.0
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._turns = 0

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        entry = (self._now + max(0.0, seconds), next(self._tickets), callback)
        heapq.heappush(self._alarms, entry)
        self._turns = 0

        def cancel() -> None:
            if entry in self._alarms:
                self._alarms.remove(entry)
                heapq.heapify(self._alarms)

        return cancel

    async def sleep(self, seconds: float) -> None:
        rung = anyio.Event()
        cancel = self.call_later(seconds, rung.set)
        try:
            await rung.wait()
        finally:
            cancel()

    async def run(self) -> None:
        """Let time pass until cancelled."""
        while True:
            await anyio.lowlevel.checkpoint()
            self._turns += 1
            if self._alarms and self._turns >= _SETTLES:
                self._turns = 0
                due, _, callback = heapq.heappop(self._alarms)
                self._now = max(self._now, due)
                callback()


class _BoundToMethods(BoundEngine):
    """A bound engine that calls the methods of its engine."""

    def __init__(self, engine: SimpleEngine) -> None:
        self._engine = engine

    async def generate(self, conversation: Conversation) -> Completion:
        return await self._engine._generate(conversation)

    def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        return self._engine._stream(conversation) or super().stream(conversation)


class SimpleEngine(BaseInferenceEngine):
    """An engine that needs no settings: a subclass implements `_generate`, and `_stream` if it can."""

    engine_type = InferenceEngineType.REMOTE

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set()

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _BoundToMethods(self)

    async def _generate(self, conversation: Conversation) -> Completion:
        raise NotImplementedError

    def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta] | None:
        """By default, the whole answer is one delta."""
        return None


class FakeEngine(SimpleEngine):
    """Answers at once. `script(text, attempt)` may wait, or raise, before it does.

    `asked` counts the attempts at each question; `peak` is the most that were in flight at once.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        workers: int = 8,
        clock: FakeClock | None = None,
        model: str = "fake",
        **remote: object,
    ) -> None:
        super().__init__(
            ModelParams(model_name=model),
            remote_params=RemoteParams.model_validate(
                {"num_workers": workers, "use_adaptive_concurrency": False, **remote}
            ),
            clock=clock,
        )
        self._script = script
        self.asked: Counter[str] = Counter()
        self.in_flight = self.peak = 0

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"max_new_tokens", "temperature", "seed", "stop_strings"}

    async def _generate(self, conversation: Conversation) -> Completion:
        text = str(conversation.messages[-1].content)
        self.asked[text] += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            if self._script is not None:
                pause = self._script(text, self.asked[text])
                if pause is not None:
                    await pause
        finally:
            self.in_flight -= 1
        return Completion(Message(role=Role.ASSISTANT, content=answer_to(text)), FinishReason.STOP, Usage(3, 4, 7))


class TextEngine(FakeEngine):
    """Answers with a text, which may be typed.

    Args:
        text: The answer to each question, or a function that returns it.
    """

    def __init__(self, text: str | Callable[[str], str], script: Script | None = None) -> None:
        super().__init__(script)
        self._text = text

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"guided_decoding"}

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        text = self._text if isinstance(self._text, str) else self._text(conversation.messages[-1].text)
        return replace(completion, message=completion.message.model_copy(update={"content": text}))


class ReasoningEngine(FakeEngine):
    """Each of its answers has a reasoning.

    Args:
        only: The only question whose answer has one; None: all.
    """

    def __init__(self, script: Script | None = None, *, only: str | None = None) -> None:
        super().__init__(script)
        self._only = only

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        if self._only not in (None, conversation.messages[-1].text):
            return completion
        update = {"reasoning_content": "Let me see."}
        return replace(completion, message=completion.message.model_copy(update=update))


# Without retries, the error of the first attempt is raised.
ONE_ATTEMPT = InferenceConfig(remote_params=RemoteParams(max_retries=0))


def refusal(after: float | None = None) -> RequestError:
    return RequestError(
        "busy",
        error_type=InferenceErrorType.API_STATUS,
        status_code=429,
        is_retryable=True,
        is_overload=True,
        retry_after=after,
    )


def timeout() -> RequestError:
    return RequestError("timed out", error_type=InferenceErrorType.TIMEOUT, is_retryable=True)


def rejection() -> RequestError:
    return RequestError("bad request", error_type=InferenceErrorType.API_STATUS, status_code=400)


def bound(engine: BaseInferenceEngine, request: Request) -> BoundEngine:
    """The engine with the settings of a request for the model's thread."""
    return engine._bind(CallSettings(request.model, request.generation, RemoteParams()))
