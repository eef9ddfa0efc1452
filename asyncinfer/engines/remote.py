"""Engines behind an API: a dialect encodes, the transport sends, the dialect decodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

import anyio

from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.config import merged as merge
from asyncinfer.control.limit_headers import limits_in
from asyncinfer.dialects.http import HttpRequest, HttpResponse, garbled, json_object, status_error
from asyncinfer.dialects.openai_chat import ChatEncoder, Quirks, decode
from asyncinfer.dialects.openai_stream import StreamDecoder
from asyncinfer.dialects.sse import EventDecoder
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError, EngineConfigError, InputError, RequestError
from asyncinfer.providers.auth import bearer
from asyncinfer.providers.catalog import CATALOG, Provider
from asyncinfer.run.clock import Clock
from asyncinfer.run.request import Request
from asyncinfer.transport import Streamed, Transport
from asyncinfer.types.images import with_images
from asyncinfer.types.results import Completion, StreamDelta, unanswerable

_CHAT, _MODELS = "/chat/completions", "/models"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "asyncinfer"}


class _Prepared(NamedTuple):
    """What the requests of one call share. `older`: the same for a server that does not know `json_schema`."""

    url: str
    headers: dict[str, str]
    encode: ChatEncoder
    timeout: float
    older: _Prepared | None = None

    async def request(self, request: Request) -> HttpRequest:
        """What to send. Images are read, and encoded, off the loop."""
        for message in request.conversation.messages:
            if message.content is not None and not isinstance(message.content, str):
                body = await anyio.to_thread.run_sync(self._encode_items, request)
                break
        else:
            body = self.encode(request.conversation, stream=request.stream)
        return HttpRequest(self.url, self.headers, body, timeout=self.timeout)

    def _encode_items(self, request: Request) -> bytes:
        try:
            return self.encode(with_images(request.conversation), stream=request.stream)
        except InputError as error:
            raise unanswerable(str(error)) from None


class RemoteInferenceEngine(BaseInferenceEngine):
    """Asks any API that speaks OpenAI's chat format, at `remote_params.api_url`.

    A call may name another model, URL or key than the engine's own. How many requests are in flight, and how
    fast they go, is the engine's; all its calls share it.
    """

    engine_type: ClassVar[InferenceEngineType] = InferenceEngineType.REMOTE

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        remote = remote_params or RemoteParams()
        if remote.api_url is None:
            remote = merge(remote, RemoteParams(api_url=self.provider().url))
        super().__init__(model_params, generation_params=generation_params, remote_params=remote, clock=clock)
        self._transport = Transport()
        self._old_schemas = False

    @classmethod
    def provider(cls) -> Provider:
        """Where the API is and how it differs from others."""
        return CATALOG[cls.engine_type]

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set(cls.provider().supported)

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        """The models that the API serves, by name; with `chat_only`, without those known not to chat.

        Raises:
            RequestError: the API did not tell. ConfigError: there is no URL, or no key.
        """
        remote = self._remote_params or RemoteParams()
        url = chat_url(remote, self.engine_type).removesuffix(_CHAT) + _MODELS
        headers = _HEADERS | bearer(self.provider(), remote)
        request = HttpRequest(url, headers, method="GET", timeout=remote.connection_timeout)
        data = json_object(await self._transport.send(request))
        try:
            names = [str(model["id"]) for model in data["data"]]
        except (KeyError, TypeError):
            raise garbled("lists no models") from None
        return [name for name in names if not (chat_only and name.startswith(self.provider().not_chat or ("\0",)))]

    def _prepare(self, model: ModelParams, generation: GenerationParams, remote: RemoteParams) -> _Prepared:
        if not model.model_name:
            raise ConfigError("model.model_name: not set; give the name by which the API knows the model")
        url, headers = chat_url(remote, self.engine_type), _HEADERS | bearer(self.provider(), remote)

        def prepared(quirks: Quirks, older: _Prepared | None = None) -> _Prepared:
            encode = ChatEncoder(generation, model, quirks, remote.user_id)
            return _Prepared(url, headers, encode, remote.connection_timeout, older)

        quirks = self.provider().quirks
        guided = generation.guided_decoding
        may_be_older = self.provider().url is None and guided is not None and guided.json is not None
        return prepared(quirks, prepared(replace(quirks, old_schemas=True)) if may_be_older else None)

    async def _generate(self, request: Request) -> Completion:
        response = await self._transport.send(await self._prepared(request).request(request))
        self._heed(request, response)
        if response.status == 200:
            return decode(response)
        if self._wants_older(request, response):
            return await self._generate(request)
        raise self._or_end(status_error(response))

    async def _stream(self, request: Request) -> AsyncIterator[StreamDelta]:
        async with self._transport.stream(await self._prepared(request).request(request)) as streamed:
            if streamed.status != 200:
                response = await streamed.response()
                if self._wants_older(request, response):
                    async for delta in self._stream(request):
                        yield delta
                    return
                self._heed(request, response)
                raise self._or_end(status_error(response))
            if streamed.is_event_stream:
                async for delta in _deltas(streamed):
                    yield delta
            else:
                completion = decode(await streamed.response())
                yield completion.as_delta(completion.message.compute_flattened_text_content())

    async def _close(self) -> None:
        await self._transport.aclose()

    def _prepared(self, request: Request) -> _Prepared:
        prepared: _Prepared = request.prepared
        return prepared.older if self._old_schemas and prepared.older is not None else prepared

    def _wants_older(self, request: Request, response: HttpResponse) -> bool:
        """Whether the server has just told that it knows `json_object` and not `json_schema`; it is not asked so
        again.
        """
        if response.status < 400 or self._old_schemas or request.prepared.older is None:
            return False
        self._old_schemas = b"json_schema" in response.body and b"json_object" in response.body
        return self._old_schemas

    def _heed(self, request: Request, response: HttpResponse) -> None:
        """Tell the controller what the response's headers say of the endpoint's limits."""
        if request.attempt is not None and (limits := limits_in(response.headers)):
            self._gate().told(request.attempt, limits)

    def _or_end(self, error: RequestError) -> RequestError | EngineConfigError:
        """`error`; or, where a key is refused before any row was answered, what ends the run at once."""
        if error.status_code in (401, 403) and not self._endpoint.admissions:
            what = f"{error}. Check the API key, and what it may use"
            return EngineConfigError(what, error_type=error.error_type, status_code=error.status_code)
        return error


async def _deltas(streamed: Streamed) -> AsyncIterator[StreamDelta]:
    events, decoder = EventDecoder(), StreamDecoder()
    async for chunk in streamed.chunks():
        for event in events.feed(chunk):
            for delta in decoder.feed(event):
                yield delta
    yield decoder.finish()


def chat_url(remote: RemoteParams, engine: InferenceEngineType) -> str:
    """Where to ask; of a URL that ends with the API's version, the chat completions below it.

    Raises:
        ConfigError: there is none, or it is none.
    """
    url = remote.api_url
    if url is None:
        raise ConfigError(
            f"remote_params.api_url: not set; {engine.name} needs the URL of the API, such as "
            f"http://localhost:8000/v1{_CHAT}"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"remote_params.api_url: should begin with http:// or https:// and a host (found {url!r})")
    return url.rstrip("/") + _CHAT if parts.path.rstrip("/").endswith("/v1") else url
