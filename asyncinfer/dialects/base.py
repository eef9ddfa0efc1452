"""The interface of a wire format. Each provider names the `Dialect` that its API speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from asyncinfer.config import GenerationParams, GuidedDecodingParams, ModelParams
from asyncinfer.dialects.http import HEADERS, as_json, json_value, unencodable_request
from asyncinfer.dialects.sse import is_event_stream
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.unsent_keys import Warn, no_warning
from asyncinfer.errors import ConfigError
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


class EncoderSettings(NamedTuple):
    """The settings that all requests of one call share.

    Args:
        url: The URL for chat requests.
        timeout: Seconds for one request.
        warn: Logs that a part of a conversation is not sent. Ignores a text that it has received before.
    """

    url: str
    model: ModelParams
    generation: GenerationParams
    user_id: str | None = None
    timeout: float = 300.0
    warn: Warn = no_warning


class Encoder(Protocol):
    """Makes the requests of one call. The headers that authorise them are added later.

    Attributes:
        dropped: The parameters that were set but are not sent to this model.
    """

    @property
    def dropped(self) -> frozenset[str]: ...

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The API does not support this request.
        """
        ...


class StreamDecoder(Protocol):
    """Turns the bytes of one streamed answer into deltas.

    Attributes:
        done: Whether the stream can be closed, because nothing more needs to be read.
        end: Tells whether the answer is complete. Usage may still follow.
        usage: The tokens so far, as the events report them; None if they do not.
        parts: The number of events that have brought a part of the answer, such as text or a piece of a tool call.
            Pings and empty events do not count.
    """

    @property
    def done(self) -> bool: ...

    @property
    def end(self) -> StreamEnd: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def parts(self) -> int: ...

    def feed(self, chunk: bytes) -> Iterator[StreamDelta]:
        """Yield the deltas that `chunk` completes.

        Raises:
            RequestError: The stream contains an error, or cannot be read.
        """
        ...

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended: tool calls, usage and finish reason.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        ...


class IsStream(Protocol):
    """Decides whether a body is a stream of events or a whole answer."""

    def __call__(self, beginning: bytes, *, declared: bool) -> bool | None:
        """Return whether the body is a stream; None if more of it is needed.

        Args:
            declared: Whether the media type says that it is a stream.
        """
        ...


def model_entries(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the entries of a list of models, each with its name under `id`.

    The response is the list itself, or an object with the list under `data`, `models` or `publisherModels`.

    Raises:
        RequestError: The response is not a list of models.
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


def _no_usage(data: Mapping[str, Any]) -> Usage | None:
    return None


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire format. It can be pickled and compared: its functions are defined at the top level of a module.

    Args:
        encoder: Makes the encoder of one call. Raises ConfigError if the API does not support the settings.
        decode: Reads a response that is not streamed. Raises RequestError if it contains no answer.
        stream: Makes the decoder of one streamed answer.
        supported: The generation parameters that the format can express.
        path: The path for chats, below the version of the API.
        models_path: The path of the list of models, in place of `path`.
        stream_type: The media type of a streamed answer.
        is_stream: Whether a body is a stream, by its beginning; see `IsStream`.
        headers: The headers of requests for the list of models. The encoder sets those of requests for chats.
        more_models: Returns the query of the next page of the list of models; None after the last page.
        fallback: The dialect for servers that support only an older form of this one.
        entries: Reads one page of the list of models, as `model_entries` does.
        models_url: Makes the URL of the list of models from the URL for chats. Replaces `models_path`.
        responses: The dialect of OpenAI's Responses API, if the server has that API too.
        guides_with_tools: In one request, the API accepts tools and a schema for the answer that calls no tool.
        usage_of: Returns the tokens that a response reports, whether it has an answer or not.
    """

    encoder: Callable[[EncoderSettings], Encoder]
    decode: Callable[[HttpResponse], Completion]
    stream: Callable[[], StreamDecoder]
    supported: frozenset[str]
    path: str
    models_path: str = "/models"
    stream_type: str = "text/event-stream"
    is_stream: IsStream = is_event_stream
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)
    more_models: Callable[[HttpResponse], str | None] = _no_more_models
    fallback: Fallback | None = None
    entries: Callable[[HttpResponse], list[dict[str, Any]]] = model_entries
    models_url: Callable[[str], str] | None = None
    responses: Dialect | None = None
    guides_with_tools: bool = False
    usage_of: Callable[[Mapping[str, Any]], Usage | None] = _no_usage

    def encoder_for(self, settings: EncoderSettings) -> Encoder:
        """Return the encoder of one call.

        Raises:
            ConfigError: The API does not support these settings.
        """
        for key, value in _by_key(settings):
            try:
                as_json(value)
            except ValueError as error:
                raise ConfigError(f"{key}: cannot be written as JSON: {error}") from None
        return _CheckedEncoder(self.encoder(settings))

    def listing(self, url: str) -> str:
        """Return the URL of the list of models, for an API whose URL for chats is `url`."""
        if self.models_url:
            return self.models_url(url)
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix(self.path) + self.models_path))


@dataclass(frozen=True, slots=True)
class _CheckedEncoder:
    """An encoder that raises RequestError for conversations that cannot be written as JSON."""

    encode: Encoder

    @property
    def dropped(self) -> frozenset[str]:
        return self.encode.dropped

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        try:
            return self.encode(conversation, stream=stream)
        except (ValueError, RecursionError) as error:
            raise unencodable_request(error) from None


def _by_key(settings: EncoderSettings) -> Iterator[tuple[str, Any]]:
    """Yield the settings that a request may contain, each with its key in the configuration."""
    for name in ("model_name", "adapter_model", "model_kwargs", "chat_template_kwargs"):
        yield f"model.{name}", getattr(settings.model, name)
    for name in GenerationParams.model_fields:
        value = getattr(settings.generation, name)
        if isinstance(value, GuidedDecodingParams):
            yield f"generation.{name}.json", value.schema_dict()
            yield f"generation.{name}", (value.regex, value.choice)
        else:
            yield f"generation.{name}", value


class Fallback(NamedTuple):
    """The dialect for servers that support less. `is_needed` detects such a server by its response."""

    is_needed: Callable[[HttpResponse], bool]
    dialect: Dialect
