"""Engines behind an API: a dialect encodes, the transport sends, the dialect decodes."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, NamedTuple
from urllib.parse import SplitResult, urlsplit

import anyio

from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.config import merged as merge
from asyncinfer.control.limit_headers import limits_in
from asyncinfer.dialects.http import HttpRequest, HttpResponse, garbled, json_object, status_error
from asyncinfer.dialects.openai_chat import ChatEncoder, Quirks, decode
from asyncinfer.dialects.openai_stream import StreamDecoder
from asyncinfer.dialects.sse import EventDecoder
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError, InputError, RequestError
from asyncinfer.providers.auth import bearer
from asyncinfer.providers.catalog import CATALOG, Provider
from asyncinfer.run.clock import Clock
from asyncinfer.run.request import Request
from asyncinfer.transport import Streamed, Transport
from asyncinfer.types.images import with_images
from asyncinfer.types.results import Completion, StreamDelta, unanswerable

_CHAT, _MODELS = "/chat/completions", "/models"
_HEADERS = {"Content-Type": "application/json", "User-Agent": "asyncinfer"}
# A shorter key is a placeholder, such as "EMPTY" for vLLM, and may well be a word.
_SECRET = 8


class _Prepared(NamedTuple):
    """What the requests of one call share. `older`: the same for a server that does not know `json_schema`."""

    url: str
    headers: dict[str, str]
    encode: ChatEncoder
    timeout: float
    older: _Prepared | None = None

    async def request(self, request: Request) -> HttpRequest:
        """What to send. Images are read, and encoded, off the loop."""
        if any(not isinstance(message.content, str | None) for message in request.conversation.messages):
            body = await anyio.to_thread.run_sync(self._encode_items, request)
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
        self._older: set[str] = set()

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
        url, headers = self._reach(remote)
        url = url.removesuffix(_CHAT) + _MODELS
        request = HttpRequest(url, headers, method="GET", timeout=remote.connection_timeout)
        with _key_untold(headers):
            data = json_object(await self._transport.send(request))
        try:
            names = [str(model["id"]) for model in data["data"]]
        except (KeyError, TypeError):
            raise garbled("lists no models") from None
        return [name for name in names if not (chat_only and name.startswith(self.provider().not_chat))]

    def _prepare(self, model: ModelParams, generation: GenerationParams, remote: RemoteParams) -> _Prepared:
        if not model.model_name:
            raise ConfigError("model.model_name: not set; give the name by which the API knows the model")
        url, headers = self._reach(remote)

        def prepared(quirks: Quirks, older: _Prepared | None = None) -> _Prepared:
            encode = ChatEncoder(generation, model, quirks, remote.user_id)
            return _Prepared(url, headers, encode, remote.connection_timeout, older)

        quirks = self.provider().quirks
        guided = generation.guided_decoding
        may_be_older = quirks.schemas_may_be_old and guided is not None and guided.json is not None
        return prepared(quirks, prepared(replace(quirks, old_schemas=True)) if may_be_older else None)

    def _reach(self, remote: RemoteParams) -> tuple[str, dict[str, str]]:
        """Where to ask, and the headers to ask with.

        Raises:
            ConfigError: there is no URL or no key, or they do not go together.
        """
        url, key = chat_url(remote, self.engine_type), bearer(self.provider(), remote)
        if key and "@" in urlsplit(url).netloc:
            raise ConfigError("remote_params.api_url: holds credentials, and there is an api_key too; give one of them")
        return url, _HEADERS | key

    async def _generate(self, request: Request) -> Completion:
        sent = self._prepared(request)
        with _key_untold(sent.headers):
            response = await self._transport.send(await sent.request(request))
            self._heed(request, response.headers)
            if response.status == 200:
                return decode(response)
            if self._says_older(sent, response):
                return await self._generate(request)
            raise status_error(response, time.time())

    async def _stream(self, request: Request) -> AsyncIterator[StreamDelta]:
        sent = self._prepared(request)
        with _key_untold(sent.headers):
            async with self._transport.stream(await sent.request(request)) as streamed:
                self._heed(request, streamed.headers)
                if streamed.status == 200:
                    async for delta in _deltas(streamed):
                        yield delta
                    return
                response = await streamed.response()
            if not self._says_older(sent, response):
                raise status_error(response, time.time())
        async for delta in self._stream(request):
            yield delta

    async def _close(self) -> None:
        await self._transport.aclose()

    def _prepared(self, request: Request) -> _Prepared:
        """What to send by: in the older form, if the server was found to know no other."""
        prepared: _Prepared = request.prepared
        return prepared.older if prepared.older is not None and prepared.url in self._older else prepared

    def _says_older(self, sent: _Prepared, response: HttpResponse) -> bool:
        """Whether the server says that it knows `json_object` and not the `json_schema` that it was sent."""
        if sent.older is None or b"json_schema" not in response.body or b"json_object" not in response.body:
            return False
        self._older.add(sent.url)
        return True

    def _heed(self, request: Request, headers: Mapping[str, str]) -> None:
        """Tell the controller what a response's headers say of the endpoint's limits."""
        if request.attempt is not None and (limits := limits_in(headers)):
            self._gate().told(request.attempt, limits)


@contextmanager
def _key_untold(headers: Mapping[str, str]) -> Generator[None]:
    """An error does not repeat the key, even where the server does."""
    try:
        yield
    except RequestError as error:
        key = headers.get("Authorization", "").removeprefix("Bearer ")
        if len(key) >= _SECRET:
            error.args = (str(error).replace(key, "[API key]"),)
        raise


async def _deltas(streamed: Streamed) -> AsyncIterator[StreamDelta]:
    """The deltas of a stream; of a server that does not stream, its answer as one."""
    if not streamed.is_event_stream:
        completion = decode(await streamed.response())
        yield completion.as_delta(completion.message.compute_flattened_text_content())
        return
    events, decoder = EventDecoder(), StreamDecoder()
    async for chunk in streamed.chunks():
        for event in events.feed(chunk):
            for delta in decoder.feed(event):
                yield delta
        if decoder.done:  # Some servers keep the connection open.
            break
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
    parts = _parts(url)
    if parts is None:
        shown = re.sub(r"[^/]*@", "", url.partition("?")[0])  # without what may be secret
        raise ConfigError(f"remote_params.api_url: should begin with http:// or https:// and a host (found {shown!r})")
    return url.rstrip("/") + _CHAT if parts.path.rstrip("/").endswith("/v1") else url


def _parts(url: str) -> SplitResult | None:
    """The URL's parts; None for one that leads nowhere."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # a port, or an IPv6 address, that is none
        return None
