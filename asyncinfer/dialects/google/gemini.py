"""The dialect of Gemini: its OpenAI-compatible endpoint, and its own API for features that this endpoint lacks.

The compatible endpoint answers `Unknown name ...: Cannot find field` to a seed or a penalty (as reported until August
2026). Its documentation ("OpenAI compatibility", November 2026) has no choices and no documents, and images only as
bytes. Requests with one of these features go to `generateContent`, below the same version of the API. So do requests
with a field of that API, such as `generationConfig`, in `generation.extra_body`. The answer shows which of the two
endpoints sent it: one has `choices`, the other `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.base import Dialect, EncoderSettings, model_entries
from asyncinfer.dialects.google import pieces
from asyncinfer.dialects.google import request as gemini_request
from asyncinfer.dialects.google import response as gemini_response
from asyncinfer.dialects.google.request import GenerateEncoder
from asyncinfer.dialects.google.schemas import supported_schema
from asyncinfer.dialects.google.stream import GeminiEventDecoder
from asyncinfer.dialects.json_schema.inline_refs import can_inline
from asyncinfer.dialects.json_text import read_json
from asyncinfer.dialects.media import GOOGLE_IMAGES, is_data_url
from asyncinfer.dialects.openai import request as openai_request
from asyncinfer.dialects.openai import response as openai_response
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.dialects.openai.request import ChatEncoder
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent, SSEStreamDecoder
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.tool_results import has_files_in_results
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.answer import Completion
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.masking import masked_if_secret
from asyncinfer.types.message import Message
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

PATH = "/chat/completions"
QUIRKS = Quirks(
    token_limit="max_completion_tokens",
    unsupported=openai_request.SUPPORTED - gemini_request.SUPPORTED,
    user=None,
    inline_refs=True,
    schema_transform=supported_schema,
    image_types=GOOGLE_IMAGES,
    merges_messages=True,
    blank_texts=False,
    extra_keys=False,
    passthrough=frozenset({"extra_content"}),
)
# The request fields that only one of the two endpoints supports.
_NATIVE_FIELDS = frozenset(
    {"cachedContent", "generationConfig", "safetySettings", "serviceTier", "store", "toolConfig"}
)
_COMPATIBLE_FIELDS = frozenset({"extra_body", "reasoning_effort", "response_format", "web_search_options"})
# The response fields that only one of the two endpoints sends.
_NATIVE_RESPONSE = frozenset({"candidates", "modelVersion", "promptFeedback", "usageMetadata"})
_COMPATIBLE_RESPONSE = frozenset({"choices", "object"})


class GeminiEncoder:
    """Makes the requests of one call, each for one of the two endpoints.

    Raises:
        ConfigError: Neither endpoint supports these settings.
    """

    dropped: frozenset[str] = frozenset()

    def __init__(self, settings: EncoderSettings) -> None:
        base = native_base(settings.url)
        native_only = _native_parameter(settings.generation)
        obstacle = native_obstacle(settings)
        if native_only is not None and obstacle is not None:
            raise ConfigError(f"generation.{native_only} needs Gemini's own API; {obstacle}")
        self._native_obstacle = obstacle
        self._native = GenerateEncoder(settings, base)
        self._chat = ChatEncoder(settings, QUIRKS) if native_only is None else None

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: Neither endpoint supports this request.
        """
        items = (item for message in conversation.messages for item in _items(message))
        native_only = next((item for item in items if _is_native_only(item)), None)
        if self._chat is not None and native_only is None and not self._sends_files_in_results(conversation):
            return self._chat(conversation, stream=stream)
        if native_only is not None and self._native_obstacle is not None:
            raise invalid_request(f"an item of type {native_only.type} needs Gemini's own API; {self._native_obstacle}")
        return self._native(conversation, stream=stream)

    def _sends_files_in_results(self, conversation: Conversation) -> bool:
        """Whether a tool's result has files that only Gemini's own API accepts there."""
        can_send = self._native_obstacle is None and self._native.takes_files_in_results
        return can_send and has_files_in_results(conversation.messages)


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response of either endpoint.

    Raises:
        RequestError: The response has no answer.
    """
    return gemini_response.decode(response) if _is_native(response.body) else openai_response.decode(response)


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a response of either endpoint reports, whether it has an answer or not."""
    return pieces.usage_of(data) or openai_response.usage_of(data)


def entries(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the entries of a list of models. Their ids have no prefix `models/`, as in Google's examples."""
    return [{**entry, "id": entry["id"].removeprefix("models/")} for entry in model_entries(response)]


class _AnyEndpointEventDecoder:
    """Decodes a stream of either endpoint. The first event that only one of the endpoints sends decides which.

    Events before it, such as errors, have the same format in both.
    """

    def __init__(self) -> None:
        self._decoder: OpenAIEventDecoder | GeminiEventDecoder = OpenAIEventDecoder()
        self._is_decided = False

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def end(self) -> StreamEnd:
        return self._decoder.end

    @property
    def usage(self) -> Usage | None:
        return self._decoder.usage

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        if not self._is_decided and (native := _is_native(event.data)) is not None:
            self._is_decided = True
            self._decoder = GeminiEventDecoder() if native else self._decoder
        return self._decoder.feed(event)

    def finish(self) -> StreamDelta:
        return self._decoder.finish()


def _is_native(body: bytes | str) -> bool | None:
    """Whether an answer, or a part of one, is from Gemini's own API; None if the fields do not show it."""
    try:
        data: Any = read_json(body)
    except ValueError:
        return None
    keys: set[str] = set(cast(dict[str, Any], data)) if isinstance(data, dict) else set()
    return False if keys & _COMPATIBLE_RESPONSE else True if keys & _NATIVE_RESPONSE else None


def native_base(chat_url: str) -> str:
    """Return the URL of Gemini's own API, with its version, from the URL for chats of the compatible endpoint."""
    return masked_if_secret(chat_url.removesuffix(PATH).removesuffix("/openai"))


def _native_parameter(generation: GenerationParams) -> str | None:
    """Return the name of a parameter that only Gemini's own API supports; None if none is set."""
    guided = generation.guided_decoding
    if guided is not None:
        schema = guided.schema_dict()
        if guided.choice is not None or (schema is not None and not can_inline(schema)):
            return f"guided_decoding.{'choice' if schema is None else 'json (a schema that needs references)'}"
    for name in ("n", "top_k", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"):
        if getattr(generation, name) != GenerationParams.model_fields[name].default:
            return name
    return next((f"extra_body.{key}" for key in sorted(_NATIVE_FIELDS & generation.extra_body.keys())), None)


def native_obstacle(settings: EncoderSettings) -> str | None:
    """Return the reason why Gemini's own API cannot be used with these settings; None if it can."""
    if not settings.url.endswith(PATH):
        return f"remote_params.api_url does not end with {PATH}, so the URL of that API is unknown"
    for key in sorted(_COMPATIBLE_FIELDS & settings.generation.extra_body.keys()):
        return f"it does not support extra_body.{key}: use its own fields, such as generationConfig.thinkingConfig"
    return None


def _items(message: Message) -> list[ContentItem]:
    return message.content if isinstance(message.content, list) else []


def _is_native_only(item: ContentItem) -> bool:
    """Whether only Gemini's own API accepts this item."""
    by_url = item.binary is None and not is_data_url(item.content or "")
    return item.is_document() or (item.is_image() and by_url)


def _stream_decoder() -> SSEStreamDecoder:
    return SSEStreamDecoder(_AnyEndpointEventDecoder())


# Both endpoints of Gemini in one dialect.
GEMINI = Dialect(
    GeminiEncoder,
    decode,
    _stream_decoder,
    gemini_request.SUPPORTED,
    path=PATH,
    entries=entries,
    usage_of=usage_of,
)
