"""One engine in several processes, on this machine or in a cluster."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asyncinfer.aio.clock import Clock
from asyncinfer.batch.api import BatchApi
from asyncinfer.config import BatchParams, DistributedParams, GenerationParams, ModelParams, RemoteParams
from asyncinfer.config.row_key import hashed_fields
from asyncinfer.control.permit_source import PermitSource
from asyncinfer.distributed.bound import BoundReplicas
from asyncinfer.distributed.ray_replicas import RayReplicas
from asyncinfer.distributed.replica_set import ReplicaSet
from asyncinfer.distributed.rows import Call
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.providers.prices import PricedEndpoint
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.scratch.keys import RowKeysMaker
from asyncinfer.types.conversation import ConversationLike

if TYPE_CHECKING:
    from asyncinfer.engines.spec import EngineSpec


class DistributedInferenceEngine(BaseInferenceEngine):
    """Answers rows with replicas of an engine. Each replica is a process, which Ray places and restarts.

    `build_engine` makes it from a configuration with `distributed`. It has all methods of an engine, and the same keys
    of rows, so a run may be resumed with or without replicas. Permits, pace, limits and retries belong to this object:
    all replicas together keep the limits of a remote endpoint. Replicas start at the first use.

    Args:
        engine: The engine to have replicas of. It must have a `spec`. Its model is not loaded here.
        distributed: How many replicas there are, and where.
        clock: The clock of the engine, for tests.

    Raises:
        ConfigError: The engine cannot be built in another process.
        MissingDependencyError: Ray is not installed.
    """

    engine_type = "DISTRIBUTED"

    def __init__(
        self, engine: BaseInferenceEngine, distributed: DistributedParams, *, clock: Clock | None = None
    ) -> None:
        self._inner, self._distributed = engine, distributed
        self._spec = engine.spec
        config = self._spec.config
        self._is_remote = config.remote_params is not None
        super().__init__(
            config.model, generation_params=config.generation, remote_params=config.remote_params, clock=clock
        )
        self._numbers = itertools.count()
        replicas = RayReplicas(_recipe(self._spec), distributed, _gpus(config.model, is_remote=self._is_remote))
        self._replicas = ReplicaSet(lambda: replicas, distributed, self._room(), self._clock)

    @property
    def spec(self) -> EngineSpec:
        """The picklable description of this engine, from which another process builds an equal one."""
        config = self._spec.config.model_copy(update={"distributed": self._distributed})
        return replace(self._spec, config=config)

    @classmethod
    def get_supported_params(cls) -> set[str]:
        """The names of all generation parameters. Which ones have an effect depends on the engine of the replicas."""
        return set(hashed_fields(GenerationParams))

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        return await self._inner.alist_models(chat_only)

    async def aapply_chat_template(self, conversation: ConversationLike, **tokenizer_kwargs: Any) -> str:
        return await self._inner.aapply_chat_template(conversation, **tokenizer_kwargs)

    # What the base class asks for. Everything but the answers comes from the engine without replicas.

    def _concurrency(self) -> int:
        each = self._inner._concurrency()
        return each if self._is_remote else each * self._distributed.num_replicas

    def _new_endpoint(self) -> PermitSource:
        return self._inner._new_endpoint() if self._is_remote else super()._new_endpoint()

    def _room(self) -> int:
        """The most rows of one replica. The requests to an API are limited by the permits for all replicas."""
        return self._inner._concurrency()

    def _bind(self, settings: CallSettings) -> BoundEngine:
        inner = self._inner._bind(settings)  # Finds wrong settings.
        supported = inner.supported_parameters
        if supported is None:
            supported = frozenset(self._inner.get_supported_params())
        call = Call(next(self._numbers), settings)
        bound = BoundReplicas(self._replicas, call, supported, inner.dropped_parameters)
        bound.guides_with_tools = inner.guides_with_tools
        return bound

    async def _model_for(self, call: ModelParams) -> ModelParams:
        return await self._inner._model_for(call)

    def _with_model_name(self, model: ModelParams, name: str) -> ModelParams:
        return self._inner._with_model_name(model, name)

    async def _row_keys(self, settings: CallSettings) -> RowKeysMaker:
        return await self._inner._row_keys(settings)

    def _without_effect(self, generation: GenerationParams) -> frozenset[str]:
        return self._inner._without_effect(generation)

    def _display_name(self, remote: RemoteParams) -> str:
        return self._inner._display_name(remote)

    def _batch_api(self, settings: CallSettings, params: BatchParams) -> BatchApi:
        return self._inner._batch_api(settings, params)  # Jobs are sent by this process: replicas are not needed.

    def _priced_endpoints(self, settings: CallSettings) -> Mapping[str | None, PricedEndpoint]:
        return self._inner._priced_endpoints(settings)

    async def _close(self) -> None:
        await self._replicas.aclose()
        await self._inner.aclose()


def _recipe(spec: EngineSpec) -> EngineSpec:
    """What a replica builds. Answers are parsed here, and the class for that may not be importable there."""
    generation = spec.config.generation.model_copy(update={"response_model": None})
    return replace(spec, config=spec.config.model_copy(update={"generation": generation}))


def _gpus(model: ModelParams, *, is_remote: bool) -> float:
    """How many GPUs a replica uses, if there are any: vLLM splits a model over several."""
    if is_remote:
        return 0
    sizes = [model.model_kwargs.get(name) for name in ("tensor_parallel_size", "pipeline_parallel_size")]
    gpus = 1
    for size in sizes:
        gpus *= size if isinstance(size, int) and size > 0 else 1
    return gpus
