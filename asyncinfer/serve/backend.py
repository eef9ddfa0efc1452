"""The engine behind a server: its models, its places for answers, and its calls."""

from __future__ import annotations

import time
from dataclasses import replace

from asyncinfer.aio.background_iterator import BackgroundIterator
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.run.semaphore import AdaptiveSemaphore
from asyncinfer.serve.admission import Admission
from asyncinfer.serve.metrics import Metrics
from asyncinfer.serve.model_names import ModelNames, ServedModel
from asyncinfer.serve.request_settings import CallConfigs, RequestSettings, SettingsReader
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.answer import Completion, StreamDelta, Usage, finish_reason_of
from asyncinfer.types.conversation import Conversation

# Fields beyond OpenAI's standard parameters that APIs in OpenAI's format know. No value of theirs leads to another
# model, address or file.
PASSED_FIELDS = frozenset(
    {"prompt_cache_key", "reasoning_effort", "repetition_penalty", "safety_identifier", "top_k", "verbosity"}
)


class Backend:
    """The engine behind a server. Open it on the event loop of the server."""

    def __init__(self, engine: BaseInferenceEngine, settings: ServerSettings, metrics: Metrics) -> None:
        self.engine, self.metrics = engine, metrics
        self.settings = _with_passed_fields(settings, engine)
        self.read_settings = SettingsReader(self.settings.passed_fields)
        self.created = int(time.time())
        self._is_remote = isinstance(engine, RemoteInferenceEngine)
        self._semaphore: AdaptiveSemaphore | None = None

    async def open(self) -> None:
        """Read what the server needs to know about the engine. A second call does nothing.

        Raises:
            ConfigError: The engine cannot answer with its settings.
        """
        if self._semaphore is not None:
            return
        access = await self.engine.access()
        self._semaphore = semaphore = access.semaphore
        self._configs = CallConfigs(access.settings, is_local=not self._is_remote)
        settings = self.settings
        self.models = ModelNames(
            access.settings.model.model_name or str(self.engine.engine_type),
            settings.model_names,
            accepts_any=settings.any_model,
            is_remote=self._is_remote,
        )
        self.admission = Admission(settings.max_concurrency or semaphore.most, settings.max_queue, time.monotonic)
        self._watch(semaphore)

    async def answer(self, conversation: Conversation, settings: RequestSettings) -> Completion:
        """Answer a conversation."""
        answered = await self.engine.agenerate(conversation, self._configs.of(settings))
        metadata = answered.metadata
        usage = Usage(**metadata["usage"]) if "usage" in metadata else None
        self.metrics.used(usage)
        return Completion(answered.messages[-1], finish_reason_of(answered), usage, metadata)

    def stream(self, conversation: Conversation, settings: RequestSettings) -> BackgroundIterator[StreamDelta]:
        """Answer a conversation in parts."""
        return self.engine.astream(conversation, self._configs.of(settings))

    def settings_for(self, settings: RequestSettings, model: ServedModel) -> RequestSettings:
        """Return the settings of a request, with the model that answers it."""
        return settings if model.requested is None else settings._replace(model=model.requested)

    async def warm_up(self) -> None:
        """Load a model in this process, by answering one token."""
        if isinstance(self.engine, LocalInferenceEngine):
            one_token = InferenceConfig.model_validate({"generation": {"max_new_tokens": 1}})
            await self.engine.agenerate("Hi", one_token)

    def _watch(self, semaphore: AdaptiveSemaphore) -> None:
        watch, admission = self.metrics.watch, self.admission
        watch("asyncinfer_answers_in_progress", "Answers in progress.", lambda: admission.in_use)
        watch("asyncinfer_requests_waiting", "Requests that wait for a place.", lambda: admission.waiting)
        watch("asyncinfer_places", "The most answers in progress.", lambda: admission.places)
        watch("asyncinfer_engine_permits", "Requests that the engine allows in flight.", lambda: semaphore.limit)
        watch("asyncinfer_engine_permits_in_use", "Requests of the engine in flight.", lambda: semaphore.in_use)
        watch("asyncinfer_engine_waiting", "Calls that wait for a permit of the engine.", lambda: semaphore.waiting)


def _with_passed_fields(settings: ServerSettings, engine: BaseInferenceEngine) -> ServerSettings:
    """Return the settings with the fields that the engine's API knows. A model in this process has no such fields.

    Raises:
        ConfigError: Fields should be passed to an engine that passes none.
    """
    passes = "extra_body" in engine.get_supported_params()
    if settings.passed_fields and not passes:
        raise ConfigError(f"passed_fields: {type(engine).__name__} passes no fields to an API")
    is_openai = isinstance(engine, RemoteInferenceEngine) and engine.provider().dialect.path == "/chat/completions"
    own = PASSED_FIELDS if is_openai else frozenset[str]()
    return replace(settings, passed_fields=settings.passed_fields | own)
