"""Engines whose model runs in this process, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from asyncinfer.aio import portal as sync
from asyncinfer.aio.clock import Clock
from asyncinfer.aio.limiters import DISK, MODELS
from asyncinfer.config import GenerationParams, ModelParams, RemoteParams
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.chat_prompt import with_template
from asyncinfer.engines.local.delivery import Deliver, EngineEvent
from asyncinfer.engines.local.gguf import model_paths
from asyncinfer.engines.local.model_thread import ModelThread
from asyncinfer.engines.local.model_worker import closed_error
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.watchdog import Watchdog, WatchdogTimeouts
from asyncinfer.errors import ConfigError
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.scratch.model_files import ModelFile, identify
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion, StreamDelta

log = logging.getLogger("asyncinfer")

# Settings that may differ from call to call. All others are fixed when the model is loaded.
_OF_A_CALL = frozenset({"allow_private_urls", "chat_template", "chat_template_kwargs", "max_image_pixels"})
# The generation parameters that every local engine supports.
_SUPPORTED = frozenset(
    {
        "frequency_penalty",
        "guided_decoding",
        "logit_bias",
        "max_new_tokens",
        "min_p",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "skip_special_tokens",
        "stop_strings",
        "stop_token_ids",
        "temperature",
        "tool_choice",
        "top_p",
    }
)


class LocalInferenceEngine(BaseInferenceEngine):
    """Answers rows with a `Stepper` in its own thread; the event loop runs no model code.

    The model is loaded by the first call, and again by the first call after a close. Calls from any
    number of event loops share it.
    """

    # How long one step may take, and what else is waited for: a step that never ends fails the rows, and is told of.
    patience: ClassVar[WatchdogTimeouts] = WatchdogTimeouts()
    # Fields of the model's parameters that say something to other engines only.
    _others: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        # The parameters of an endpoint are not for a model in this process.
        super().__init__(model_params, generation_params=generation_params, clock=clock)
        self._thread: ModelThread | None = None
        self._files: Sequence[ModelFile] | None = None
        self._end_when_dropped: weakref.finalize[[], LocalInferenceEngine] | None = None
        self._thread_lock = threading.Lock()
        self._check()
        for name in sorted(self._others & model_params.model_fields_set):
            log.debug("model.%s: %s has no use for it; ignored", name, self.engine_type)

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set(_SUPPORTED)

    # What a subclass supplies

    @abstractmethod
    def _load(self) -> Stepper:
        """Load the model; called in the model's thread. What it returns must not refer to the engine.

        Raises:
            ConfigError: this model cannot be loaded, and what to do about it.
        """

    def _check(self) -> None:
        """Raise a ConfigError for what can be seen to be wrong without loading the model."""

    async def _ready(self, request: Request) -> Request:
        """The request as the stepper wants it; what blocks, or waits for a network, is done here. By default, as it is.

        Raises:
            RequestError: the row cannot be answered.
        """
        return request

    def _slots(self) -> int:
        """How many rows the stepper will take into work at once."""
        return 1

    # What the base class asks for

    def _concurrency(self) -> int:
        # As many again wait in the thread, so that no slot idles while the loop hands out the next row.
        # A setting that makes no sense is told of by `_check`.
        return max(2 * self._slots(), 1)

    async def _model_for(self, call: ModelParams) -> ModelParams:
        own = self._model_params
        for name in call.model_fields_set - _OF_A_CALL:
            asked, loaded = getattr(call, name), getattr(own, name)
            if asked != loaded and not (name == "model_name" and not asked):
                raise ConfigError(
                    f"model.{name}: this engine was made with {loaded!r} and cannot answer with {asked!r}; "
                    "make another engine for it"
                )
        return await MODELS.run(with_template, await super()._model_for(call))

    async def _model_files(self) -> Sequence[ModelFile]:
        """The files when this was first called, which is before the model is loaded."""
        if self._files is None:
            self._files = await DISK.run(identify, model_paths(self._model_params))
        return self._files

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _BoundLocalEngine(self, settings)

    async def _close(self) -> None:
        with self._thread_lock:
            thread, self._thread, self._files = self._thread, None, None
            if self._end_when_dropped is not None:
                self._end_when_dropped.detach()
        if thread is not None:
            thread.stop()
            if not thread.join(0.0):
                await MODELS.run(thread.join)

    async def submit(self, request: Request, deliver: Deliver) -> tuple[ModelThread, int]:
        """Give a row to the model's thread. Returns the thread, and its number for the row.

        Raises:
            RequestError: The row cannot be answered.
        """
        request = await self._ready(request)
        with self._thread_lock:
            if self._thread is None:
                self._thread = self._open()
            return self._thread, self._thread.submit(request, deliver)

    def _open(self) -> ModelThread:
        if sync.program_has_ended():
            raise closed_error()  # A thread that is started now would keep the process alive.
        thread = self._new_thread()
        # An engine that is dropped without a close stops its thread all the same.
        self._end_when_dropped = weakref.finalize(self, thread.stop)
        self._end_when_dropped.atexit = False
        return thread

    def _new_thread(self) -> ModelThread:
        return ModelThread(self._load, Watchdog(self.patience))


class _BoundLocalEngine(BoundEngine):
    """A local engine with the settings of one call."""

    def __init__(self, engine: LocalInferenceEngine, settings: CallSettings) -> None:
        self._engine, self._settings = engine, settings

    async def generate(self, conversation: Conversation) -> Completion:
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()

        def deliver(event: EngineEvent) -> None:
            if answer.done() or isinstance(event, StreamDelta):
                return
            if isinstance(event, Completion):
                answer.set_result(event)
            else:
                answer.set_exception(event)

        thread, row = await self._engine.submit(self._request(conversation), deliver)
        try:
            return await answer
        finally:
            if not answer.done() or answer.cancelled():
                thread.abort(row)

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        thread, row = await self._engine.submit(self._request(conversation, stream=True), events.put_nowait)
        try:
            while isinstance(event := await events.get(), StreamDelta):
                yield event
            if not isinstance(event, Completion):
                raise event
            yield event.as_delta()
        finally:
            thread.abort(row)

    def _request(self, conversation: Conversation, *, stream: bool = False) -> Request:
        return Request(conversation, self._settings.generation, self._settings.model, stream=stream)
