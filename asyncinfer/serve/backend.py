"""The engine behind a server: the models that it serves, its slots for answers, and its calls."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio

from asyncinfer.aio.background_iterator import BackgroundIterator
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.run.access import EngineAccess
from asyncinfer.serve.admission import Admission
from asyncinfer.serve.answer_settings import AnswerConfigs, AnswerSettings, SettingsReader
from asyncinfer.serve.metrics import Metrics
from asyncinfer.serve.model_names import ModelNames
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import finish_reason_of
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

# Fields beyond OpenAI's standard parameters that APIs in OpenAI's format know. None of these fields can select another
# model, address or file.
PASSED_FIELDS = frozenset({"prompt_cache_key", "safety_identifier", "verbosity"})


class Backend:
    """The engine behind a server. The first request opens it on the event loop of the server.

    Raises:
        ConfigError: `settings.passed_fields` has fields, but the engine passes none to an API.
    """

    def __init__(self, engine: BaseInferenceEngine, settings: ServerSettings, metrics: Metrics) -> None:
        self.engine, self.metrics = engine, metrics
        self.settings = _with_passed_fields(settings, engine)
        self._lock = anyio.Lock()
        self._opened: OpenBackend | None = None

    async def open(self) -> OpenBackend:
        """Return the backend that answers. The first call makes it, from the settings of the engine.

        Raises:
            ConfigError: The engine cannot answer with its settings.
        """
        if self._opened is None:
            async with self._lock:
                if self._opened is None:
                    access = await self.engine.access()
                    self._opened = OpenBackend(self.engine, self.settings, self.metrics, access)
        return self._opened

    async def drain(self) -> None:
        """Refuse new requests with status 503, and wait until all accepted ones are answered.

        Raises:
            ConfigError: The engine cannot answer with its settings.
        """
        await (await self.open()).admission.drain()


class OpenBackend:
    """Answers requests with an engine.

    Args:
        access: The engine's own settings, and its permits.

    Attributes:
        models: The names of the models.
        admission: The slots for answers, and the queue of requests that wait for one.
        read_settings: Reads the settings of a request.
        created: When the server started, as Unix time in seconds.
    """

    def __init__(
        self, engine: BaseInferenceEngine, settings: ServerSettings, metrics: Metrics, access: EngineAccess
    ) -> None:
        self.engine, self.settings, self.metrics = engine, settings, metrics
        self.created = int(time.time())
        self.read_settings = SettingsReader(settings.passed_fields)
        is_remote = isinstance(engine, RemoteInferenceEngine)
        self._configs = AnswerConfigs(access.settings, is_local=not is_remote)
        self.models = ModelNames(
            engine.model_name, settings.model_names, accepts_any=settings.any_model, is_remote=is_remote
        )
        slots = settings.max_concurrency or access.semaphore.most
        self.admission = Admission(slots, settings.max_queue, time.monotonic)
        metrics.watch_queues(self.admission, access.semaphore)

    async def answer(self, conversation: Conversation, settings: AnswerSettings) -> Completion:
        """Answer a conversation."""
        answered = await self.engine.agenerate(conversation, self._configs.of(settings))
        metadata = answered.metadata
        usage = Usage.from_dict(metadata["usage"]) if "usage" in metadata else None
        self.metrics.used(usage)
        return Completion(answered.messages[-1], finish_reason_of(answered), usage, metadata)

    def stream(self, conversation: Conversation, settings: AnswerSettings) -> BackgroundIterator[StreamDelta]:
        """Answer a conversation in parts."""
        return self.engine.astream(conversation, self._configs.of(settings))


def _with_passed_fields(settings: ServerSettings, engine: BaseInferenceEngine) -> ServerSettings:
    """Return the settings with the fields that the engine's API knows. A model in this process has no such fields.

    Raises:
        ConfigError: Fields should be passed to an engine that passes none.
    """
    passes = "extra_body" in engine.get_supported_params()
    if settings.passed_fields and not passes:
        raise ConfigError(f"passed_fields: {type(engine).__name__} passes no fields to an API")
    known = PASSED_FIELDS if _has_openai_format(engine) else frozenset[str]()
    return replace(settings, passed_fields=settings.passed_fields | known)


def _has_openai_format(engine: BaseInferenceEngine) -> bool:
    """Whether the engine's API has OpenAI's format. Its Responses API knows the same fields, partly within others."""
    return isinstance(engine, RemoteInferenceEngine) and engine.provider().dialect.path in (
        "/chat/completions",
        "/responses",
    )
