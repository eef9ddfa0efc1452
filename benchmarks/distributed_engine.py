"""The engine of the benchmark `distributed`: it sleeps in place of a model. Replicas import it."""

from __future__ import annotations

import os
from typing import Any

import anyio

from asyncinfer import (
    BaseInferenceEngine,
    BoundEngine,
    CallSettings,
    Completion,
    Conversation,
    FinishReason,
    Message,
    ModelParams,
    Role,
    Usage,
)


def sleeping_model(slots: int, seconds: float) -> ModelParams:
    """A model that answers `slots` rows at once, each in so many seconds."""
    return ModelParams(model_name="sleeps", model_kwargs={"slots": slots, "seconds": seconds})


class SleepingEngine(BaseInferenceEngine):
    """Answers each row after a while. More rows than slots wait for a slot, as in the engines for models."""

    engine_type = "SLEEPING"

    def __init__(self, model_params: ModelParams, **more: Any) -> None:
        self.slots: int = model_params.model_kwargs["slots"]
        self.seconds: float = model_params.model_kwargs["seconds"]
        self.limiter: anyio.Semaphore | None = None
        super().__init__(model_params, **more)

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set()

    def _concurrency(self) -> int:
        return 2 * self.slots

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _Sleeping(self)


class _Sleeping(BoundEngine):
    def __init__(self, engine: SleepingEngine) -> None:
        self._engine = engine

    async def generate(self, conversation: Conversation) -> Completion:
        if self._engine.limiter is None:
            self._engine.limiter = anyio.Semaphore(self._engine.slots)
        async with self._engine.limiter:
            await anyio.sleep(self._engine.seconds)
        message = Message(role=Role.ASSISTANT, content="answer")
        return Completion(message, FinishReason.STOP, Usage(100, 10, 110), metadata={"pid": os.getpid()})
