"""What a subclass supplies, because it differs between engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from asyncinfer.batch.api import BatchApi
from asyncinfer.config import BatchParams, GenerationParams, ModelParams, RemoteParams
from asyncinfer.config import merged as merge
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.permit_source import PermitSource
from asyncinfer.errors import ConfigError
from asyncinfer.providers.prices import PricedEndpoint
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.executor import Executor
from asyncinfer.run.online import OnlineExecutor
from asyncinfer.scratch.model_files import ModelFile


class EngineHooks(ABC):
    """The settings of an engine, and the methods that a subclass of `BaseInferenceEngine` defines.

    `engine_type`, `get_supported_params` and `_bind` must be defined. The others have defaults.
    """

    engine_type: ClassVar[str]
    # The `model_kwargs` that do not change an answer. They are not part of a row's key.
    unhashed_model_kwargs: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        model_params: ModelParams,
        generation_params: GenerationParams | None,
        remote_params: RemoteParams | None,
    ) -> None:
        self._model_params = model_params.model_copy()  # The caller may change theirs later.
        self._generation_params = generation_params or GenerationParams()
        self._remote_params = remote_params

    @property
    def settings(self) -> CallSettings:
        """The engine's own settings, which are in effect where a call sets none."""
        return CallSettings(self._model_params, self._generation_params, self._remote_params or RemoteParams())

    @property
    def model_name(self) -> str:
        """The name of the model; that of the engine if the settings name no model."""
        return self._model_params.model_name or str(self.engine_type)

    @classmethod
    @abstractmethod
    def get_supported_params(cls) -> set[str]:
        """The names of the generation parameters that this engine supports."""

    @abstractmethod
    def _bind(self, settings: CallSettings) -> BoundEngine:
        """This engine with the settings of one call.

        Raises:
            ConfigError: No conversation can be answered with these settings.
        """

    def _concurrency(self) -> int:
        """How many rows should be in flight at the same time."""
        return self._remote_params.num_workers if self._remote_params is not None else 1

    def _new_endpoint(self) -> PermitSource:
        """The controller of the endpoint, which all calls share: how many requests are in flight, and how fast."""
        return Endpoint(self._concurrency(), self._remote_params)

    async def _model_for(self, call: ModelParams) -> ModelParams:
        """The model parameters in effect for a call whose config sets some of its own."""
        return merge(self._model_params, call)

    def _with_model_name(self, model: ModelParams, name: str) -> ModelParams:
        """The model parameters in effect for a row that names a model.

        Raises:
            ConfigError: The engine cannot answer with this model.
        """
        return model.model_copy(update={"model_name": name})

    async def _model_files(self) -> Sequence[ModelFile]:
        """The model's files, which are part of the rows' keys. By default, none."""
        return ()

    def _without_effect(self, generation: GenerationParams) -> frozenset[str]:
        """The supported parameters that have no effect together with the others. Logs the reason. By default, none."""
        return frozenset()

    def _display_name(self, remote: RemoteParams) -> str:
        """The name of the engine in messages."""
        return type(self).__name__

    def _new_executor(self, access: EngineAccess, total: int | None) -> Executor:
        """The executor that answers the rows of one run. By default, it sends one request per row.

        Args:
            total: The number of rows of the run; None if it is unknown.
        """
        return OnlineExecutor(access, is_only_row=total == 1)

    def _batch_api(self, settings: CallSettings, params: BatchParams) -> BatchApi:
        """The provider's batch API. By default, there is none.

        Raises:
            ConfigError: There is no batch API, or the settings are wrong.
        """
        raise ConfigError(
            f"{type(self).__name__} has no batch API. Use `infer` or `run` without `batch`, which send one request for "
            "each row"
        )

    def _priced_endpoints(self, settings: CallSettings) -> Mapping[str | None, PricedEndpoint]:
        """What the prices of answers depend on, for each endpoint by its name. By default, answers cost nothing.

        The name is None if there is only one endpoint.
        """
        return {None: PricedEndpoint(self.model_name)}

    async def _close(self) -> None:
        """Free what the engine owns. An engine that is used again opens it again. By default, nothing."""
        return
