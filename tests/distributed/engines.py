"""Engines that replicas can build in their own processes. Their behaviour is in the settings of the model."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio

from asyncinfer import (
    BoundEngine,
    CallSettings,
    Completion,
    ConfigError,
    Conversation,
    EngineDeadError,
    FinishReason,
    InferenceErrorType,
    Message,
    ModelParams,
    Role,
    StreamDelta,
    Usage,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.run.bound_engine import ObservedLimits
from tests.fakes import answer_to


def model(**options: object) -> ModelParams:
    """The settings of a `ScriptedEngine`.

    Args:
        options: `slots`; `seconds` per answer; `log`, a folder in which each answer is noted; `lethal`, the question
            that kills the process; `fatal`, the question at which the engine dies; `broken`, why it cannot be built.
    """
    return ModelParams(model_name="scripted", model_kwargs=options)


class ScriptedEngine(BaseInferenceEngine):
    """Answers each question after a while, with the process that answered in the metadata."""

    engine_type = "SCRIPTED"

    def __init__(self, model_params: ModelParams, **more: Any) -> None:
        self.options = dict(model_params.model_kwargs)
        super().__init__(model_params, **more)
        if "broken" in self.options and os.environ.get("RAY_JOB_ID"):
            raise ConfigError(str(self.options["broken"]))

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"max_new_tokens", "temperature"}

    def _concurrency(self) -> int:
        return self._remote_params.num_workers if self._remote_params else self.options.get("slots", 8)

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _Scripted(self.options, settings)


class _Scripted(BoundEngine):
    def __init__(self, options: dict[str, Any], settings: CallSettings) -> None:
        self._options, self._limit = options, settings.generation.max_new_tokens

    async def generate(self, conversation: Conversation) -> Completion:
        text = str(conversation.messages[-1].content)
        await anyio.sleep(self._options.get("seconds", 0.0))
        self._die_at(text)
        if folder := self._options.get("log"):
            with (Path(folder) / f"{os.getpid()}").open("a") as log:
                log.write(f"{text}\n")
        message = Message(role=Role.ASSISTANT, content=answer_to(text)[: self._limit])
        where = {"pid": os.getpid(), "node": os.environ.get("TEST_NODE", platform.node())}
        return Completion(message, FinishReason.STOP, Usage(3, 4, 7), metadata=where)

    def _die_at(self, text: str) -> None:
        if text == self._options.get("lethal"):
            os.kill(os.getpid(), signal.SIGKILL)
        if text == self._options.get("hanging"):
            threading.Event().wait()  # Blocks the event loop of the replica.
        if text == self._options.get("fatal"):
            raise EngineDeadError("the model crashed", error_type=InferenceErrorType.ENGINE_FAILURE)
        if text == self._options.get("wrong"):
            raise ValueError("an error of the engine")

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        completion = await self.generate(conversation)
        for word in completion.message.compute_flattened_text_content().split():
            yield StreamDelta(word + " ")
            await anyio.sleep(self._options.get("seconds", 0.0))
        yield StreamDelta(finish_reason=completion.finish_reason, usage=completion.usage, metadata=completion.metadata)
