"""What every wire format offers, as a value: a provider is a row of data that holds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from asyncinfer.config import GenerationParams, GuidedDecodingParams, ModelParams
from asyncinfer.dialects.http import (
    HEADERS,
    HttpRequest,
    HttpResponse,
    as_json,
    json_value,
    malformed_response,
    no_json,
)
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.errors import ConfigError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion, StreamDelta


class EncoderSettings(NamedTuple):
    """What the requests of one call share. `url`: where its chats go. `timeout`: seconds for one of them."""

    url: str
    model: ModelParams
    generation: GenerationParams
    user_id: str | None = None
    timeout: float = 300.0


class Encoder(Protocol):
    """Makes the requests of one call, without the headers that authorise them.

    `dropped`: the parameters that were set but are not sent to this model.
    """

    @property
    def dropped(self) -> frozenset[str]: ...

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: the API does not support this request.
        """
        ...


class StreamDecoder(Protocol):
    """Turns the bytes of one streamed answer into deltas.

    Attributes:
        done: Nothing more needs to be read.
        end: Whether the answer is complete. More may follow, such as usage.
        parts: The number of events that have brought a part of the answer, such as text or a piece of a tool call.
            Pings and empty events do not count.
    """

    @property
    def done(self) -> bool: ...

    @property
    def end(self) -> StreamEnd: ...

    @property
    def parts(self) -> int: ...

    def feed(self, chunk: bytes) -> Iterator[StreamDelta]:
        """The deltas that `chunk` completes.

        Raises:
            RequestError: the stream contains an error, or cannot be read.
        """
        ...

    def finish(self) -> StreamDelta:
        """The last delta, with tool calls, usage and reason, when the stream has ended.

        Raises:
            RequestError: the stream ended before the answer was complete.
        """
        ...


def model_entries(response: HttpResponse) -> list[dict[str, Any]]:
    """The entries of a listing of models, each with its name under `id`; the list may stand alone, or under a key.

    Raises:
        RequestError: the response is not a listing of models.
    """
    listed = json_value(response)
    try:
        if isinstance(listed, dict):
            groups = cast(dict[str, Any], listed)
            listed = next(groups[key] for key in ("data", "models", "publisherModels") if key in groups)
        return [{**entry, "id": str(entry.get("id") or entry["name"])} for entry in listed]
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise malformed_response("lists no models") from None


def _no_more_models(page: HttpResponse) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire format. It can be pickled and compared: its functions are defined at the top level of a module.

    `encoder` raises ConfigError where nothing can be asked with a call's settings; `decode` raises RequestError for
    what holds no answer. `supported`: the generation parameters that it can tell. `path`: where chats go, below the
    API's version; `models_path`: where models are listed, or else `models_url` of the URL where chats go; `entries`:
    reads that list, as `model_entries` does. `stream_type`: the media type of a streamed answer. `headers`: what every
    request says of itself, also one for the models. `more_models`: of a page of their listing, the query of the next,
    or None. `fallback`: another dialect, for servers that turn out to know less.
    """

    encoder: Callable[[EncoderSettings], Encoder]
    decode: Callable[[HttpResponse], Completion]
    stream: Callable[[], StreamDecoder]
    supported: frozenset[str]
    path: str
    models_path: str = "/models"
    stream_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)
    more_models: Callable[[HttpResponse], str | None] = _no_more_models
    fallback: Fallback | None = None
    entries: Callable[[HttpResponse], list[dict[str, Any]]] = model_entries
    models_url: Callable[[str], str] | None = None

    def encoder_for(self, call: EncoderSettings) -> Encoder:
        """What makes the requests of one call.

        Raises:
            ConfigError: nothing can be asked with these settings.
        """
        for key, value in _settings(call):
            try:
                as_json(value)
            except ValueError as error:
                raise ConfigError(f"{key}: cannot be written as JSON: {error}") from None
        return _Refusing(self.encoder(call))

    def listing(self, url: str) -> str:
        """Where models are listed, of the API whose chats go to `url`."""
        if self.models_url:
            return self.models_url(url)
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix(self.path) + self.models_path))


@dataclass(frozen=True, slots=True)
class _Refusing:
    """An encoder that also refuses conversations that JSON cannot hold."""

    encode: Encoder

    @property
    def dropped(self) -> frozenset[str]:
        return self.encode.dropped

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        try:
            return self.encode(conversation, stream=stream)
        except (ValueError, RecursionError) as error:
            raise no_json(error) from None


def _settings(call: EncoderSettings) -> Iterator[tuple[str, Any]]:
    """The settings that requests may hold, each by its key."""
    for name in ("model_name", "adapter_model", "model_kwargs", "chat_template_kwargs"):
        yield f"model.{name}", getattr(call.model, name)
    for name in GenerationParams.model_fields:
        value = getattr(call.generation, name)
        if isinstance(value, GuidedDecodingParams):
            yield f"generation.{name}.json", value.schema_dict()
            yield f"generation.{name}", (value.regex, value.choice)
        else:
            yield f"generation.{name}", value


class Fallback(NamedTuple):
    """The dialect of servers that turn out to know less: those of whose response `wanted` holds."""

    wanted: Callable[[HttpResponse], bool]
    dialect: Dialect
