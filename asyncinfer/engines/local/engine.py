"""The base class of engines whose model runs in this process, in its own thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, ClassVar

from asyncinfer.aio import portal
from asyncinfer.aio.clock import Clock
from asyncinfer.aio.limiters import DISK, MODELS
from asyncinfer.config import GenerationParams, ModelParams, RemoteParams
from asyncinfer.dialects.tool_results import with_files_after_results
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.call_input import conversation_of
from asyncinfer.engines.local.chat_prompt import ConversationRenderer, resolve_chat_template
from asyncinfer.engines.local.choices import BoundChoices, settings_of_choices
from asyncinfer.engines.local.delivery import Deliver, EngineEvent
from asyncinfer.engines.local.model_loop import closed_error
from asyncinfer.engines.local.model_paths import model_paths
from asyncinfer.engines.local.model_thread import ModelThread
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.watchdog import Watchdog, WatchdogTimeouts
from asyncinfer.errors import ConfigError
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.scratch.model_files import ModelFile, identify
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation, ConversationLike
from asyncinfer.types.stream import StreamDelta

log = logging.getLogger("asyncinfer")

# Fields of `ModelParams` that may differ between calls. All others are fixed when the model is loaded.
_PER_CALL_FIELDS = frozenset({"allow_private_urls", "chat_template", "chat_template_kwargs", "max_image_pixels"})
# The generation parameters that every local engine supports.
_SUPPORTED = frozenset(
    {
        "frequency_penalty",
        "guided_decoding",
        "logit_bias",
        "logprobs",
        "max_new_tokens",
        "min_p",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "repetition_penalty",
        "seed",
        "skip_special_tokens",
        "stop_strings",
        "stop_token_ids",
        "temperature",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)


class LocalInferenceEngine(BaseInferenceEngine):
    """Answers rows with a `Stepper` in its own thread. The event loop runs no model code.

    The first call loads the model, and so does the first call after a close. All calls share the model, from any number
    of event loops.
    """

    # How long one step may take before it is reported, and before the rows fail.
    watchdog_timeouts: ClassVar[WatchdogTimeouts] = WatchdogTimeouts()
    # Whether `model_name` may be the folder of a LoRA adapter.
    _accepts_adapter_folders: ClassVar[bool] = False
    # Fields of `ModelParams` that only other engines support.
    _ignored_fields: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        # A local model has no endpoint, so `remote_params` is ignored.
        own = model_params.with_base_model() if self._accepts_adapter_folders else model_params
        super().__init__(own, generation_params=generation_params, clock=clock)
        self._given_params = model_params.model_copy()  # A call may repeat what the caller gave.
        self._renderer: ConversationRenderer | None = None
        self._thread: ModelThread | None = None
        self._identified_files: Sequence[ModelFile] | None = None
        self._stop_when_collected: weakref.finalize[[], LocalInferenceEngine] | None = None
        self._thread_lock = threading.Lock()
        self._validate()
        for name in sorted(self._ignored_fields & model_params.model_fields_set):
            log.debug("model.%s: ignored, because the engine %s does not support it", name, self.engine_type)

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set(_SUPPORTED)

    # Implemented by subclasses

    @abstractmethod
    def _load(self) -> Stepper:
        """Load the model. Runs in the model's thread. The stepper must not refer to the engine.

        Raises:
            ConfigError: The model cannot be loaded. The message says what to do.
        """

    def _validate(self) -> None:
        """Raise a ConfigError for mistakes that can be found without loading the model."""

    async def _prepare(self, request: Request) -> Request:
        """Return the request as the stepper expects it. Does what waits for the disk or the network, such as loading
        images. By default, returns it unchanged.

        Raises:
            RequestError: The row cannot be answered.
        """
        return request

    def _in_effect(self, generation: GenerationParams) -> GenerationParams:
        """The generation parameters as the stepper understands them. By default, unchanged."""
        return generation

    def _slots(self) -> int:
        """How many rows the stepper works on at once."""
        return 1

    # Called by the base class

    def _concurrency(self) -> int:
        # As many rows again wait in the thread, so that no slot is idle until the event loop submits the next row.
        # The setting may be invalid here; `_validate` reports it.
        return max(2 * self._slots(), 1)

    async def _model_for(self, call: ModelParams) -> ModelParams:
        own, given = self._model_params, self._given_params
        for name in call.model_fields_set - _PER_CALL_FIELDS:
            requested, loaded = getattr(call, name), getattr(own, name)
            if requested not in (loaded, getattr(given, name)) and not (name == "model_name" and not requested):
                raise ConfigError(
                    f"model.{name}: this engine was made with {loaded!r} and cannot answer with {requested!r}; "
                    "make another engine for it"
                )
        own_of_call = {name: getattr(call, name) for name in call.model_fields_set & _PER_CALL_FIELDS}
        return await MODELS.run(resolve_chat_template, own.model_copy(update=own_of_call))

    def _with_model_name(self, model: ModelParams, name: str) -> ModelParams:
        if name in (model.model_name, self._given_params.model_name):
            return model
        raise ConfigError(f"model_name: this engine was made with {model.model_name!r}, and has no model {name!r}")

    async def aapply_chat_template(self, conversation: ConversationLike, **tokenizer_kwargs: Any) -> str:
        """As in the base class. Loads the tokenizer, but not the model."""
        asked = conversation_of(conversation, None)
        if self._renderer is None:
            self._renderer = await MODELS.run(self._make_renderer)
        model = await MODELS.run(resolve_chat_template, self._model_params)
        request = Request(_with_text_results(asked), self._generation_params, model)
        # Transformers' default. A request for an answer has another one.
        arguments = {"add_generation_prompt": False, **tokenizer_kwargs}
        return await MODELS.run(partial(self._renderer, request, **arguments))

    def _make_renderer(self) -> ConversationRenderer:
        """The function that renders conversations as for an answer, without the model's weights. Blocks.

        Raises:
            ConfigError: The tokenizer cannot be loaded, or there is no template.
        """
        raise ConfigError(f"{type(self).__name__} does not support apply_chat_template")

    async def _model_files(self) -> Sequence[ModelFile]:
        """The files as they were at the first call, before the model was loaded."""
        if self._identified_files is None:
            self._identified_files = await DISK.run(lambda: identify(model_paths(self._model_params)))
        return self._identified_files

    def _bind(self, settings: CallSettings) -> BoundEngine:
        generation = self._in_effect(settings.generation)
        if generation.n == 1:
            return _BoundLocalEngine(self, settings._replace(generation=generation))
        each = settings_of_choices(generation)
        return BoundChoices([_BoundLocalEngine(self, settings._replace(generation=one)) for one in each])

    async def _close(self) -> None:
        with self._thread_lock:
            thread, self._thread, self._identified_files = self._thread, None, None
            if self._stop_when_collected is not None:
                self._stop_when_collected.detach()
        if thread is not None:
            thread.stop()
            if not thread.join(0.0):
                await MODELS.run(thread.join)

    async def submit(self, request: Request, deliver: Deliver) -> tuple[ModelThread, int]:
        """Submit a row to the model's thread. Returns the thread, and the number of the row there.

        Raises:
            RequestError: The row cannot be answered.
        """
        request = await self._prepare(request)
        with self._thread_lock:
            if self._thread is None:
                self._thread = self._open()
            return self._thread, self._thread.submit(request, deliver)

    def _open(self) -> ModelThread:
        if portal.program_has_ended():
            raise closed_error()  # A thread that starts now would keep the process alive.
        thread = self._new_thread()
        # The thread also stops if the engine is garbage-collected without a close.
        self._stop_when_collected = weakref.finalize(self, thread.stop)
        self._stop_when_collected.atexit = False
        return thread

    def _new_thread(self) -> ModelThread:
        return ModelThread(self._load, Watchdog(self.watchdog_timeouts))


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
            yield event.last_delta()
        finally:
            thread.abort(row)

    def _request(self, conversation: Conversation, *, stream: bool = False) -> Request:
        return Request(_with_text_results(conversation), self._settings.generation, self._settings.model, stream=stream)


def _with_text_results(conversation: Conversation) -> Conversation:
    """The conversation as most chat templates support it: they write only text in the results of tools."""
    messages = with_files_after_results(conversation.messages)
    if messages is conversation.messages:
        return conversation
    return conversation.model_copy(update={"messages": [*messages]})
