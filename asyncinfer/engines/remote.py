"""Engines behind an HTTP API: a dialect encodes, a signer authorises, the transport sends, the dialect decodes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import anyio
import anyio.lowlevel
from anyio import fail_after

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.control.limit_headers import limits_in
from asyncinfer.dialects.base import Dialect, Encoder, EncoderSettings, StreamDecoder
from asyncinfer.dialects.http import HttpRequest, HttpResponse, ResponseLimits, status_error
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError, InferenceErrorType, InputError, RequestError, invalid_request
from asyncinfer.providers.auth import Signer
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from asyncinfer.providers.user_headers import with_user_headers
from asyncinfer.run.bound_engine import BoundEngine, CallSettings, ObservedLimits
from asyncinfer.transport.base import StreamedResponse, Transport
from asyncinfer.transport.default import default_transport
from asyncinfer.transport.session import SessionTransport
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import with_files
from asyncinfer.types.masking import (
    MASK,
    MaskedStr,
    mask_url,
    masked_if_secret,
    secrets_in_url,
    without_credentials,
    without_traceback,
)
from asyncinfer.types.results import Completion, StreamDelta

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from asyncinfer.engines.spec import EngineSpec

# The most pages of a list of models that are read. No API has more; a longer list is an error of the server.
_PAGES = 1000
# The shortest key that is removed from messages. Removing shorter ones would make messages unreadable.
_SHORTEST_SECRET = 4
# Keys that users set for servers that need no key. They are words that any message may contain.
_PLACEHOLDERS = frozenset(
    [
        *("empty", "none", "null", "dummy", "test", "fake", "token", "unused", "nokey", "no-key", "api-key", "api_key"),
        *("apikey", "ollama", "vllm", "sglang", "local", "localhost", "lm-studio", "openai", "anything", "placeholder"),
        *("not-needed", "not-used", "no-key-required", "sk-no-key-required", "string", "true", "false", "user"),
    ]
)
# The longest wait for usage and the end mark after a complete answer (seconds).
_SECONDS_FOR_THE_REST = 10.0
# After this many bytes of a stream, other tasks run, even if the server is so fast that no read waits. A delta counts
# as the number of bytes that take about as long.
_WITHOUT_PAUSE, _DELTA = 2**18, 2**10
# The ends of base URLs for OpenAI's SDK: the version of the API, or Google's names for that API.
_VERSIONS = ("/v1", "/openai", "/openapi")


class RequestPlan(NamedTuple):
    """The parts that all requests of one call share.

    Args:
        target: The URL and the model.
        limits: The limits of each response.
        fallback: The plan for a server that does not support the dialect.
    """

    target: tuple[str, str]
    dialect: Dialect
    encode: Encoder
    sign: Signer
    limits: ResponseLimits
    fallback: RequestPlan | None = None

    async def request(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files are read and encoded in a thread, not on the event loop."""
        return (await self.sign(await self._encoded(conversation, stream)))._replace(limits=self.limits)

    async def _encoded(self, conversation: Conversation, stream: bool) -> HttpRequest:
        for message in conversation.messages:
            if not isinstance(message.content, str | None):
                return await ROWS.run(self._encode_files, conversation, stream)
        return self.encode(conversation, stream=stream)

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets that no message may contain."""
        return _secrets(self.target[0], self.sign)

    def _encode_files(self, conversation: Conversation, stream: bool) -> HttpRequest:
        try:
            return self.encode(with_files(conversation), stream=stream)
        except InputError as error:
            raise invalid_request(str(error)) from None


class RemoteInferenceEngine(BaseInferenceEngine):
    """An engine for any API that speaks OpenAI's chat format, at `remote_params.api_url`.

    A call may use another model, URL or key than the engine. All calls share the concurrency and the rate limits of the
    engine.

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
        provider, remote = self.provider(), remote_params or RemoteParams()
        unset: dict[str, Any] = {}
        if remote.api_url is None:
            unset["api_url"] = provider.resolve_url(provider.url)
        if "num_workers" not in remote.model_fields_set:
            unset["num_workers"] = provider.workers
        remote = remote.model_copy(update=unset)
        super().__init__(model_params, generation_params=generation_params, remote_params=remote, clock=clock)
        self._transport = default_transport() if session is None else SessionTransport(session)
        self._has_own_session = session is not None
        self._fallen_back: set[tuple[str, str]] = set()

    @property
    def spec(self) -> EngineSpec:
        """As for every engine.

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
        """Return the names of the models that the API serves. `chat_only`: leave out models known not to chat.

        Raises:
            RequestError: The API did not return a list of models.
            ConfigError: The URL or the key is missing.
        """
        remote, provider = self._remote_params or RemoteParams(), self.provider()
        url, sign = self._reach(remote)
        listing = provider.resolve_url(provider.listing) if url == provider.resolve_url(provider.url) else None
        listing = masked_if_secret(listing or provider.dialect.listing(url))
        first = HttpRequest(
            listing, provider.dialect.headers, method="GET", timeout=remote.connection_timeout, limits=_limits(remote)
        )
        try:
            entries = await self._listed_in_time(first, sign)
        except RequestError as error:
            raise _error_without_secrets(_secrets(url, sign), error) from None
        return [entry["id"] for entry in entries if not chat_only or provider.can_chat(entry)]

    async def _listed_in_time(self, first: HttpRequest, sign: Signer) -> list[dict[str, Any]]:
        """Like `_listed`, with one timeout for all pages together."""
        try:
            with fail_after(first.timeout or None):
                return await self._listed(first, sign)
        except TimeoutError:
            raise RequestError(
                f"no complete list of models within {first.timeout:g} s (remote_params.connection_timeout)",
                error_type=InferenceErrorType.TIMEOUT,
                is_retryable=True,
            ) from None

    async def _listed(self, first: HttpRequest, sign: Signer) -> list[dict[str, Any]]:
        """Return the entries of all pages of the list of models. A repeated query ends the list."""
        entries: list[dict[str, Any]] = []
        seen: set[str] = set()
        query: str | None = ""
        while query is not None and query not in seen and len(seen) < _PAGES:
            seen.add(query)
            joint = "&" if "?" in first.url else "?"
            page = first._replace(url=f"{first.url}{joint}{query}" if query else first.url)
            response = _response_without_secrets(
                await self._transport.send(await sign(page)), _secrets(first.url, sign)
            )
            entries += self.provider().dialect.entries(response)
            query = self.provider().dialect.more_models(response)
        return entries

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _BoundRemoteEngine(self._transport, self._fallen_back, self.plan(settings))

    def plan(self, settings: CallSettings) -> RequestPlan:
        """Return the plan for the requests of one call.

        Raises:
            ConfigError: The settings are wrong.
        """
        model, generation, remote = settings
        if not model.model_name:
            raise ConfigError("model.model_name: not set; give the name by which the API knows the model")
        url, sign = self._reach(remote)
        call = EncoderSettings(url, model, generation, remote.user_id, remote.connection_timeout)
        limits, target = _limits(remote), (url, model.model_name)

        def planned(dialect: Dialect) -> RequestPlan:
            fallback = planned(dialect.fallback.dialect) if dialect.fallback is not None else None
            return RequestPlan(target, dialect, dialect.encoder_for(call), sign, limits, fallback)

        return planned(self.provider().dialect)

    def _endpoint_name(self, remote: RemoteParams) -> str:
        return without_credentials(remote.api_url or "")

    def _reach(self, remote: RemoteParams) -> tuple[str, Signer]:
        """Return the URL for chats, and the signer that authorises requests.

        Raises:
            ConfigError: The URL or the key is missing, or the URL has credentials in addition to a key.
        """
        url = self._chat_url(remote)
        sign = self.provider().auth.signer(self.engine_type, remote)
        if sign.secrets and "@" in urlsplit(url).netloc:
            raise ConfigError("remote_params.api_url: holds credentials, and there is an api_key too; give one of them")
        return url, with_user_headers(sign, remote.headers)

    def _chat_url(self, remote: RemoteParams) -> str:
        """Return the URL for chats. If the URL in the settings ends with a version, the path for chats is added.

        Raises:
            ConfigError: The URL is missing or invalid.
        """
        if remote.api_url is None:
            raise ConfigError(f"remote_params.api_url: not set; {self.engine_type} needs {self.provider().url_hint()}")
        if MASK in unquote(remote.api_url):
            raise ConfigError(
                f"remote_params.api_url: its credentials are masked ({mask_url(remote.api_url)}), as in a saved "
                "configuration; put them back, for instance as ${VARIABLE}"
            )
        url = _completed(remote.api_url, self.provider().dialect.path)
        if url is None:
            shown = without_credentials(remote.api_url)
            raise ConfigError(
                f"remote_params.api_url: should begin with http:// or https:// and a host (found {shown!r})"
            )
        return masked_if_secret(url)

    async def _close(self) -> None:
        await self._transport.aclose()


class _BoundRemoteEngine(BoundEngine):
    """A remote engine with the settings of one call.

    Args:
        fallen_back: The URLs and models whose server does not support the preferred dialect. All calls share this set.
    """

    def __init__(self, transport: Transport, fallen_back: set[tuple[str, str]], plan: RequestPlan) -> None:
        self._transport, self._fallen_back, self._preferred = transport, fallen_back, plan
        self.dropped_parameters = plan.encode.dropped

    async def generate(self, conversation: Conversation) -> Completion:
        plan = self._plan()
        try:
            response = await self._transport.send(await plan.request(conversation))
            if response.status != 200 and self._falls_back(plan, response):
                return await self.generate(conversation)
            return _decoded(plan, response)
        except RequestError as error:
            raise _error_without_secrets(plan.secrets(), error) from None

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        plan = self._plan()
        try:
            async with self._transport.stream(await plan.request(conversation, stream=True)) as streamed:
                if limits := limits_in(streamed.headers):
                    yield ObservedLimits(limits)
                if streamed.status == 200:
                    async for delta in _deltas(streamed, plan.dialect):
                        yield delta
                    return
                response = await streamed.response()
            if not self._falls_back(plan, response):
                raise status_error(_response_without_secrets(response, plan.secrets()), time.time())
        except RequestError as error:
            raise _error_without_secrets(plan.secrets(), error) from None
        async for part in self.stream(conversation):
            yield part

    def _plan(self) -> RequestPlan:
        """Return the plan for this server: the fallback, if it does not support the preferred dialect."""
        plan = self._preferred
        return plan.fallback if plan.fallback is not None and plan.target in self._fallen_back else plan

    def _falls_back(self, plan: RequestPlan, response: HttpResponse) -> bool:
        """Whether this response shows that the server does not support the dialect. Remembers it for later calls."""
        fallback = plan.dialect.fallback
        if fallback is None or not fallback.is_needed(response):
            return False
        self._fallen_back.add(plan.target)
        return True


def _decoded(plan: RequestPlan, response: HttpResponse) -> Completion:
    """Return the completion in a response. The rate limits are attached to it, or to the error."""
    limits = limits_in(response.headers)
    try:
        if response.status != 200:
            raise status_error(_response_without_secrets(response, plan.secrets()), time.time())
        completion = plan.dialect.decode(response)
    except RequestError as error:
        error.limits = limits
        raise
    completion.limits, completion.first_byte = limits, response.first_byte
    return completion


def _limits(remote: RemoteParams) -> ResponseLimits:
    """Return the limits of each response."""
    return ResponseLimits(remote.max_response_bytes, remote.max_compression_ratio, remote.stream_idle_timeout)


def _secrets(url: str, sign: Signer) -> tuple[str, ...]:
    """Return the secrets that no message may contain: keys, and credentials in a URL."""
    found = (*sign.secrets, *secrets_in_url(url))
    # The longest first, because one may be the beginning of another.
    return tuple(MaskedStr(secret) for secret in sorted(found, key=len, reverse=True) if _is_hidden(secret))


def _is_hidden(secret: str) -> bool:
    return len(secret) >= _SHORTEST_SECRET and secret.lower() not in _PLACEHOLDERS


def _error_without_secrets(secrets: tuple[str, ...], error: RequestError) -> RequestError:
    """Return the error without secrets in its message, and without frames whose variables may contain secrets."""
    for secret in secrets:
        error.args = (str(error).replace(secret, "[API key]"),)
    return without_traceback(error)


def _response_without_secrets(response: HttpResponse, secrets: tuple[str, ...]) -> HttpResponse:
    """Return the response without secrets. This must happen before its text is shortened for a message."""
    body = response.body
    for secret in secrets:
        body = body.replace(secret.encode(errors="surrogatepass"), b"[API key]")
    return response._replace(body=body)


async def _deltas(streamed: StreamedResponse, dialect: Dialect) -> AsyncIterator[StreamDelta]:
    """Yield the deltas of a stream. The answer of a server that does not stream becomes one delta."""
    if streamed.media_type != dialect.stream_type:
        completion = dialect.decode(await streamed.response())
        yield completion.as_delta(completion.message.compute_flattened_text_content())
        return
    decoder, parts, left = dialect.stream(), 0, _WITHOUT_PAUSE
    chunks, until = streamed.chunks(), None
    while not decoder.done:
        if not decoder.end.is_settled:
            until = None
        elif until is None:
            until = anyio.current_time() + _SECONDS_FOR_THE_REST
        if (chunk := await _next(chunks, decoder, until)) is None:
            break
        for delta in decoder.feed(chunk):
            yield delta
            left -= _DELTA
            if left < 0:
                left = await _paused()
        left -= len(chunk)
        if left < 0:
            left = await _paused()
        if decoder.parts != parts:
            parts = decoder.parts
            streamed.progressed()
    yield decoder.finish()


async def _paused() -> int:
    """Let other tasks run. Returns the number of bytes to read until the next pause."""
    await anyio.lowlevel.checkpoint()
    return _WITHOUT_PAUSE


async def _next(chunks: AsyncIterator[bytes], decoder: StreamDecoder, until: float | None) -> bytes | None:
    """Return the next chunk of a stream; None at its end.

    Args:
        until: When to stop waiting for a server that keeps the connection open after the answer. A time of the event
            loop's clock; None for no limit.

    Raises:
        RequestError: The connection broke, or was idle for too long, before the answer was complete.
    """
    try:
        if until is None:
            return await anext(chunks, None)
        with anyio.CancelScope(deadline=until):
            return await anext(chunks, None)
    except RequestError:
        if not decoder.end.is_complete:
            raise
    return None


def _completed(url: str, path: str) -> str | None:
    """Return the URL for chats: `url`, with `path` added if it ends with a version. None for an invalid URL."""
    parts = _parts(url)
    if parts is None:
        return None
    below = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=below + path if below.endswith(_VERSIONS) else parts.path, fragment=""))


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None for an invalid URL."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # An invalid port or IPv6 address.
        return None
