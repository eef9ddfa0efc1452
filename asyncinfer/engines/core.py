"""The state of an engine, and its settings in effect for each call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from asyncinfer.aio.clock import Clock, MonotonicClock
from asyncinfer.aio.tasks import foreign_code
from asyncinfer.batch.api import BatchApi
from asyncinfer.config import BatchParams, GenerationParams, InferenceConfig, ModelParams, RemoteParams
from asyncinfer.config import merged as merge
from asyncinfer.control.retry import RetryPolicy
from asyncinfer.engines.call_setup import CallSetup, CallSetupCache
from asyncinfer.engines.call_tracing import TracingFactory, traced, tracing_of
from asyncinfer.engines.hooks import EngineHooks
from asyncinfer.engines.row_settings import EngineSettings, RowSettings
from asyncinfer.engines.settings import fixed_and_ignored, remote_in_effect, unsupported, with_response_model
from asyncinfer.engines.typed_answers import typed_call, with_loaded_model
from asyncinfer.engines.unusable import UnusableEngine
from asyncinfer.errors import ConfigError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.answer_cache import OpenCaches
from asyncinfer.run.answer_check import AnswerCheck
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.duplicates import Duplicates, FindSaved, is_deterministic
from asyncinfer.run.pricing import Pricing
from asyncinfer.run.semaphore import AdaptiveSemaphore
from asyncinfer.scratch.keys import RowKeys, RowKeysMaker

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


log = logging.getLogger("asyncinfer")

# The most warnings of an engine. Some name keys in conversations, which may be different in each row.
_MOST_WARNINGS = 50


class EngineCore(EngineHooks):
    """Prepares an engine for calls: the settings in effect, the permits, and the keys of rows."""

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(model_params, generation_params, remote_params)
        self._clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._endpoint = self._new_endpoint()
        self._semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, AdaptiveSemaphore] = WeakKeyDictionary()
        self._attempts = Attempts()
        self._caches = OpenCaches()
        self._setups = CallSetupCache(self._new_setup)
        self._warned = set[str]()
        self._tracing: TracingFactory | None = None

    def instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool | None = None,
    ) -> None:
        """Report the calls and runs of this engine to OpenTelemetry, from now on.

        Args:
            tracer_provider: Gets the spans. By default, the one of the process, if the program has set it.
            meter_provider: Gets the metrics. By default, the one of the process.
            capture_content: Add the messages and the answers of single calls to their spans. None: if the environment
                variable `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says so.

        Raises:
            MissingDependencyError: OpenTelemetry is not installed.
        """
        self._tracing = tracing_of(tracer_provider, meter_provider, capture_content=capture_content)
        self._setups.clear()

    async def access(self, config: InferenceConfig | None = None) -> EngineAccess:
        """How calls with this config reach the engine: their settings and permits. For other layers of this package.

        Raises:
            ConfigError: A setting is wrong.
        """
        return (await self._setup_for(config)).access

    def bind(self, settings: CallSettings) -> BoundEngine:
        """This engine with the settings of one call, which `access` made. For other layers of this package.

        Raises:
            ConfigError: No conversation can be answered with these settings.
        """
        return self._bind(settings)

    async def _setup_for(
        self, config: InferenceConfig | None, response_model: Any = None, *, check: bool = True
    ) -> CallSetup:
        """The setup of calls with this config.

        Args:
            response_model: The model of the answers, in place of that of the config; None: that of the config.
            check: Whether settings that cannot work raise a ConfigError. Otherwise each row fails with that error.
        """
        try:
            return self._setups.find(config, response_model) or await self._setups.make(config, response_model)
        except ConfigError:
            if check:
                raise
        return await self._new_setup(with_response_model(config or InferenceConfig(), response_model), check=False)

    async def _new_setup(self, config: InferenceConfig, *, check: bool = True) -> CallSetup:
        settings = await self._settings_of(config)
        access, pricing = self._access_with(settings, check), self._pricing(config, settings)
        is_remote = settings.remote.api_url is not None or bool(settings.remote.endpoints)
        if is_remote or pricing.has_prices:  # A server may report a cost, even if it has no price.
            access = replace(access, pricing=pricing)
        access = traced(access, str(self.engine_type), self._tracing, config.telemetry)
        keys_for = await self._row_keys(settings)
        rows = RowSettings(settings, access, keys_for, self._with_model_name, self._engine_settings)
        keys = keys_for(settings.model, settings.generation, own=rows.keys)
        return CallSetup(replace(access, rows=rows), keys)

    def _pricing(self, config: InferenceConfig, settings: CallSettings) -> Pricing:
        """The prices of the answers."""
        return Pricing(self._priced_endpoints(settings), config.cost_per_million, self._clock.now)

    async def _row_keys(self, settings: CallSettings) -> RowKeysMaker:
        """What makes the keys of rows, given the parameters that rows may change."""
        return partial(
            RowKeys,
            str(self.engine_type),
            remote=settings.remote if self._remote_params is not None else None,
            files=await self._model_files(),
            unhashed_model_kwargs=self.unhashed_model_kwargs,
        )

    def _access_with(self, settings: CallSettings, check: bool) -> EngineAccess:
        engine, sent, answer_check, dropped = self._engine_settings(settings, check=check)
        remote = settings.remote
        policy = RetryPolicy(
            remote.max_retries,
            remote.retry_backoff_base,
            remote.retry_backoff_max,
            remote.max_wait,
            remote.max_outage,
        )
        name = self._display_name(remote)
        return EngineAccess(engine, sent, self._semaphore(), policy, self._clock, name, dropped, answer_check)

    async def _settings_of(self, config: InferenceConfig) -> CallSettings:
        """The settings in effect for a call: those of the engine, and those that the call sets."""
        with foreign_code("the engine"):
            model = await self._model_for(config.model)
        generation = await with_loaded_model(merge(self._generation_params, config.generation))
        if ignored := fixed_and_ignored(self._remote_params, config.remote_params):
            names = ", ".join(ignored)
            self._warn_once(f"remote_params: a call cannot change {names}; the values of the engine are used")
        remote = remote_in_effect(self._remote_params, config.remote_params) or RemoteParams()
        return CallSettings(model, generation, remote)

    def _engine_settings(self, settings: CallSettings, *, check: bool = True) -> EngineSettings:
        engine, sent, answer_check = self._bound(settings, check)
        return EngineSettings(engine, sent, answer_check, self._dropped(settings.generation, engine))

    def _bound(self, settings: CallSettings, check: bool) -> tuple[BoundEngine, CallSettings, AnswerCheck | None]:
        """This engine with the settings of a call; the settings that are sent; and the check of the answers."""
        try:
            if settings.generation.response_model is None:
                return self._bind(settings), settings, None
            return typed_call(settings, self._bind, self._warn_once, self.get_supported_params())
        except ConfigError as error:
            if check:
                raise
            return UnusableEngine(str(error)), settings, None

    def _dropped(self, generation: GenerationParams, engine: BoundEngine) -> tuple[str, ...]:
        """The names of the parameters that are set but not supported. Logs them once."""
        supported = engine.supported_parameters
        if supported is None:
            supported = frozenset(self.get_supported_params())
        dropped = unsupported(generation, supported) | engine.dropped_parameters
        if dropped:
            names, others = ", ".join(sorted(dropped)), ", ".join(sorted(supported - dropped))
            self._warn_once(f"{type(self).__name__} does not support {names}: ignored. It supports: {others}.")
        return tuple(sorted(dropped | self._without_effect(generation)))

    def _priced_batch_api(self, access: EngineAccess, params: BatchParams) -> BatchApi:
        """The provider's batch API, with the prices of its answers. Raises as `_batch_api` does."""
        return replace(self._batch_api(access.settings, params), pricing=access.pricing)

    def _duplicates(
        self, access: EngineAccess, config: InferenceConfig
    ) -> Callable[[FindSaved | None], Duplicates] | None:
        """Return what makes the `Duplicates` of a run. None if duplicates are sent too."""
        if config.deduplicate or (config.deduplicate is None and self._is_deterministic(access)):
            return partial(Duplicates, sends_own_settings=not config.deduplicate)
        return None

    def _is_deterministic(self, access: EngineAccess) -> bool:
        """Whether duplicate rows get the same answer."""
        if access.settings.generation.temperature != 0:
            return False
        # Only a temperature that is set explicitly is among the parameters that an engine names as not supported.
        generation = access.settings.generation.model_copy(update={"temperature": 0.0})
        engine, *_ = self._bound(access.settings._replace(generation=generation), check=False)
        supported = engine.supported_parameters or self.get_supported_params()
        return is_deterministic(generation, engine, supported)

    def _warn_once(self, text: str) -> None:
        """Log a warning about settings. Each one is logged once for this engine, however many calls it has."""
        with self._lock:
            is_new = text not in self._warned and len(self._warned) < _MOST_WARNINGS
            if is_new:
                self._warned.add(text)
        if is_new:
            log.warning("%s", text)

    def _semaphore(self) -> AdaptiveSemaphore:
        """The semaphore of this event loop. Loops share the state of the endpoint, but not the permits."""
        loop = asyncio.get_running_loop()
        with self._lock:
            semaphore = self._semaphores.get(loop)
        if semaphore is None:
            politeness = self._remote_params.politeness_policy if self._remote_params is not None else 0.0
            semaphore = AdaptiveSemaphore(self._endpoint, self._lock, self._clock, politeness)
            with self._lock:
                self._semaphores[loop] = semaphore
        return semaphore
