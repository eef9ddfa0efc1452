"""Engines behind an HTTP API: a dialect encodes, a signer authorises, the transport sends, the dialect decodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from asyncinfer.aio.clock import Clock
from asyncinfer.batch.api import BatchApi
from asyncinfer.config import BatchParams, GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.config.cost import CostPerMillion
from asyncinfer.config.endpoint import EndpointParams
from asyncinfer.control.endpoint_group import EndpointGroup
from asyncinfer.control.member import EndpointRole
from asyncinfer.control.permit_source import PermitSource
from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.bound_endpoints import BoundEndpoint, BoundEndpoints
from asyncinfer.engines.bound_remote import BoundRemoteEngine
from asyncinfer.engines.endpoints import model_at, plans_of_all, remote_at, roles_of
from asyncinfer.engines.model_listing import ModelListing, models_of_all
from asyncinfer.engines.refusal import with_start_hint
from asyncinfer.engines.remote_api import RemoteApi, url_for_chats
from asyncinfer.engines.remote_batch import BatchTarget, batch_api
from asyncinfer.engines.request_plan import RequestPlan, response_limits
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.api_choice import provider_with_chosen_api, remote_with_resolved_api
from asyncinfer.providers.base_url import is_local
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.prices import PricedEndpoint
from asyncinfer.providers.provider import Provider
from asyncinfer.providers.user_headers import with_user_headers
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.transport.default import default_transport
from asyncinfer.transport.descriptors import possible_connections
from asyncinfer.transport.session import SessionTransport
from asyncinfer.types.masking import masked_if_secret, without_credentials

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from asyncinfer.engines.spec import EngineSpec

log = logging.getLogger("asyncinfer")


class RemoteInferenceEngine(BaseInferenceEngine):
    """An engine for any API that speaks OpenAI's chat format, at `remote_params.api_url`.

    A call may use another model, URL or key than the engine. All calls share the concurrency and the rate limits of the
    engine. With `remote_params.endpoints`, each row goes to one of several endpoints.

    Args:
        session: The `aiohttp.ClientSession` that sends the requests, for client certificates, tracing, Unix sockets or
            tests. It decides about connections, proxies and TLS; timeouts and limits stay those of `remote_params`.
            It works only on its own event loop, and the engine never closes it.
    """

    engine_type: ClassVar[str] = InferenceEngineType.REMOTE

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        session: ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        remote = remote_params or RemoteParams()
        if "num_workers" not in remote.model_fields_set:
            remote = remote.model_copy(update={"num_workers": self.provider().workers})
        if not remote.endpoints:
            remote = self._with_url(remote)
        super().__init__(model_params, generation_params=generation_params, remote_params=remote, clock=clock)
        self._transport = default_transport() if session is None else SessionTransport(session)
        self._has_own_session = session is not None
        self._fallen_back: set[tuple[str, str]] = set()

    @property
    def spec(self) -> EngineSpec:
        """The picklable description of this engine, from which another process builds an equal one.

        Raises:
            ConfigError: The engine has a `session`, which another process cannot use.
        """
        if self._has_own_session:
            raise ConfigError("session: an aiohttp.ClientSession cannot be used in another process")
        return super().spec

    @classmethod
    def provider(cls) -> Provider:
        """Return the provider: the URL of the API, and its differences from others."""
        return CATALOG[cls.engine_type]

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set(cls.provider().dialect.supported)

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        """Return the names of the models that the API serves, sorted. `chat_only`: leave out models known not to chat.

        Of several endpoints, the models of all. Endpoints that return no list are logged.

        Raises:
            RequestError: No endpoint returned a list of models.
            ConfigError: The URL or the key is missing.
        """
        endpoints = self._at_endpoints(self.settings)
        return await models_of_all([partial(self._models_at, endpoint, chat_only) for endpoint in endpoints])

    async def _models_at(self, settings: CallSettings, chat_only: bool) -> list[str]:
        """Return the names of the models that one endpoint serves."""
        api = self._api(settings)
        try:
            entries = await ModelListing(self._transport, api).entries()
        except RequestError as error:
            raise with_start_hint(error, api.provider.start_hint) from None
        return [entry["id"] for entry in entries if not chat_only or api.provider.can_chat(entry)]

    def _concurrency(self) -> int:
        """The number of workers for each endpoint; at most one per file descriptor that connections may use."""
        workers, most = super()._concurrency(), possible_connections()
        if most is not None and self._remote_params is not None:
            most = max(1, most // max(1, len(self._remote_params.endpoints)))
        if most is None or workers <= most:
            return workers
        log.warning(
            "remote_params.num_workers: %d; the limit of open files (ulimit -n) allows %d connections, so at most that "
            "many requests are in flight",
            workers,
            most,
        )
        return most

    def _with_model_name(self, model: ModelParams, name: str) -> ModelParams:
        self._check_model_name(name, "model_name", "a row")
        return super()._with_model_name(model, name)

    def _check_model_name(self, name: str | None, key: str, who: str) -> None:
        """Check that endpoints know the model. Their own names are those of the engine's model.

        Raises:
            ConfigError: The model is another one, and endpoints have names of their own.
        """
        endpoints = self._remote_params.endpoints if self._remote_params is not None else []
        if name == self._model_params.model_name or all(endpoint.model_name is None for endpoint in endpoints):
            return
        raise ConfigError(
            f"{key}: the endpoints have model names of their own, which {who} cannot replace. Make an engine for "
            f"the model {name!r}"
        )

    def _new_endpoint(self) -> PermitSource:
        remote = self._remote_params
        if remote is None or not remote.endpoints:
            return super()._new_endpoint()
        return EndpointGroup(self._roles(remote.endpoints), self._concurrency(), remote)

    def _bind(self, settings: CallSettings) -> BoundEngine:
        if not settings.remote.endpoints:
            return BoundRemoteEngine(self._transport, self._fallen_back, self.plan(settings))
        self._check_model_name(settings.model.model_name, "model.model_name", "a call")
        plans = plans_of_all([partial(self.plan, endpoint) for endpoint in self._at_endpoints(settings)])
        return BoundEndpoints([BoundEndpoint(self._transport, self._fallen_back, plan) for plan in plans])

    def _at_endpoints(self, settings: CallSettings) -> list[CallSettings]:
        """Return the settings for each endpoint."""
        model, generation, remote = settings
        if not remote.endpoints:
            return [settings]
        return [
            CallSettings(model_at(model, endpoint), generation, self._with_url(remote_at(remote, endpoint)))
            for endpoint in remote.endpoints
        ]

    def _priced_endpoints(self, settings: CallSettings) -> Mapping[str | None, PricedEndpoint]:
        remote = settings.remote
        if not remote.endpoints:
            return {None: self._priced_at(settings, None)}
        names = [role.name for role in self._roles(remote.endpoints)]
        prices = [endpoint.cost_per_million for endpoint in remote.endpoints]
        return {
            name: self._priced_at(endpoint, own)
            for name, endpoint, own in zip(names, self._at_endpoints(settings), prices, strict=True)
        }

    def _priced_at(self, settings: CallSettings, own: CostPerMillion | None) -> PricedEndpoint:
        """What the prices of one endpoint depend on. A server that is not in the public internet costs nothing."""
        model, provider = settings.model.model_name, self.provider().prices
        url = without_credentials(settings.remote.api_url or "")
        if "://" not in url:
            url = f"https://{url}"
        if provider is None or is_local(urlsplit(url).hostname or ""):
            return PricedEndpoint(model, own=own)
        return PricedEndpoint(model, provider, "" if provider else url, own)

    def _roles(self, endpoints: Sequence[EndpointParams]) -> list[EndpointRole]:
        """Return the part of each endpoint in the group. `endpoints`: those of the engine's own settings."""
        return roles_of([settings.remote for settings in self._at_endpoints(self.settings)], endpoints)

    def _with_url(self, remote: RemoteParams) -> RemoteParams:
        """Return the parameters, with the URL of the provider if they have none."""
        if remote.api_url is not None:
            return remote
        provider = self.provider()
        return remote.model_copy(update={"api_url": provider.resolve_url(provider.url)})

    def plan(self, settings: CallSettings, dialect: Dialect | None = None) -> RequestPlan:
        """Return the plan for the requests of one call.

        Args:
            dialect: The wire format; by default, that of the provider.

        Raises:
            ConfigError: The settings are wrong.
        """
        model, generation, _ = settings
        if not model.model_name:
            raise ConfigError("model.model_name: not set; give the name by which the API knows the model")
        api = self._api(settings)
        remote = api.remote

        def warn(text: str) -> None:
            self._warn_once(f"{type(self).__name__}: {text}")

        call = EncoderSettings(api.url, model, generation, remote.user_id, remote.connection_timeout, warn)
        limits, target = response_limits(remote), (api.url, model.model_name)
        likely, hint = api.likely_url(), api.provider.start_hint

        def planned(dialect: Dialect) -> RequestPlan:
            fallback = planned(dialect.fallback.dialect) if dialect.fallback is not None else None
            return RequestPlan(target, dialect, dialect.encoder_for(call), api.sign, limits, fallback, likely, hint)

        return planned(dialect or api.provider.dialect)

    def _batch_api(self, settings: CallSettings, params: BatchParams) -> BatchApi:
        if settings.remote.endpoints:
            raise ConfigError("batch: not available with remote_params.endpoints; set api_url to one of them")
        api, model = self._api(settings), settings.model.model_name
        batch = api.provider.batch
        dialect = batch.dialect_for(model, api.provider.dialect) if batch is not None else None
        target = BatchTarget(api, str(self.engine_type), model, params)
        return batch_api(target, self._transport, lambda: self.plan(settings, dialect))

    def _display_name(self, remote: RemoteParams) -> str:
        if not remote.endpoints:
            return without_credentials(remote.api_url or "")
        return ", ".join(role.name for role in self._roles(remote.endpoints))

    def _api(self, settings: CallSettings) -> RemoteApi:
        """Return the API that requests with these settings go to.

        Raises:
            ConfigError: The URL or the key is missing, or the URL has credentials in addition to a key.
        """
        remote = remote_with_resolved_api(self.provider(), settings.remote, settings.model.model_name)
        provider, url = provider_with_chosen_api(self.provider(), remote), self._chat_url(remote)
        sign = provider.auth.signer(self.engine_type, remote)
        if sign.secrets and "@" in urlsplit(url).netloc:
            raise ConfigError("remote_params.api_url: holds credentials, and there is an api_key too; give one of them")
        return RemoteApi(provider, remote, url, with_user_headers(sign, remote.headers))

    def _chat_url(self, remote: RemoteParams) -> str:
        """Return the URL for chats that `api_url` means. Logs its assumptions once.

        Raises:
            ConfigError: The URL is missing or invalid.
        """
        found = url_for_chats(provider_with_chosen_api(self.provider(), remote), self.engine_type, remote)
        if found.note:
            self._warn_once(f"remote_params.api_url: {found.note}")
        return masked_if_secret(self.provider().completed_url(found.url))

    async def _close(self) -> None:
        await self._transport.aclose()
