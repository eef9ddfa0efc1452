"""Gemini, over its OpenAI-compatible endpoint, and over its own API for what that lacks.

The compatible endpoint answers `Unknown name ...: Cannot find field` to a seed or a penalty (as reported until August
2026), its documentation ("OpenAI compatibility", November 2026) has no choices, no documents, and images only as
bytes. Whatever asks for one of these goes to `generateContent` below the same version of the API. So does what its
`generation.extra_body` calls by a name of that API, such as `generationConfig`. Which of the two answered shows in
the answer: one has `choices`, the other `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic_core import from_json

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.base import Dialect, EncoderSettings, model_entries
from asyncinfer.dialects.google import request as gemini_generate
from asyncinfer.dialects.google import response as gemini_answer
from asyncinfer.dialects.google.request import GenerateEncoder
from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.media import holds_data
from asyncinfer.dialects.openai import request as openai_chat
from asyncinfer.dialects.openai import response as openai_answer
from asyncinfer.dialects.openai import stream as openai_stream
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.dialects.openai.request import ChatEncoder
from asyncinfer.dialects.sse import EventStream, ServerSentEvent
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.conversation import ContentItem, Conversation, Message
from asyncinfer.types.masking import masked_if_secret
from asyncinfer.types.results import Completion, StreamDelta

PATH = "/chat/completions"
QUIRKS = Quirks(
    token_limit="max_completion_tokens",
    unsupported=openai_chat.SUPPORTED - gemini_generate.SUPPORTED,
    user=None,
    flat_schemas=True,
    passthrough=frozenset({"extra_content"}),
)
# The fields of the body that only one of the two knows.
_NATIVE = frozenset({"cachedContent", "generationConfig", "safetySettings", "serviceTier", "store", "toolConfig"})
_COMPATIBLE = frozenset({"extra_body", "reasoning_effort", "response_format", "web_search_options"})
# The fields of an answer by which the two are known.
_OF_NATIVE = frozenset({"candidates", "modelVersion", "promptFeedback", "usageMetadata"})
_OF_COMPATIBLE = frozenset({"choices", "object"})


class GeminiEncoder:
    """Makes the requests of one call, for either endpoint.

    Raises:
        ConfigError: nothing can be asked with these settings.
    """

    dropped: frozenset[str] = frozenset()

    def __init__(self, call: EncoderSettings) -> None:
        base = masked_if_secret(call.url.removesuffix(PATH).removesuffix("/openai"))
        asked = _natively(call.generation)
        why = _unable(call)
        if asked is not None and why is not None:
            raise ConfigError(f"generation.{asked} needs Gemini's own API; {why}")
        self._why = why
        self._native = GenerateEncoder(call, base)
        self._chat = ChatEncoder(call, QUIRKS) if asked is None else None

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: neither endpoint can be asked this.
        """
        items = (item for message in conversation.messages for item in _items(message))
        wanted = next((item for item in items if _is_lacking(item)), None)
        if self._chat is not None and wanted is None:
            return self._chat(conversation, stream=stream)
        if wanted is not None and self._why is not None:
            raise invalid_request(f"an item of type {wanted.type} needs Gemini's own API; {self._why}")
        return self._native(conversation, stream=stream)


def decode(response: HttpResponse) -> Completion:
    """The answer in a response of either endpoint.

    Raises:
        RequestError: it holds none.
    """
    return gemini_answer.decode(response) if _is_native(response.body) else openai_answer.decode(response)


def entries(response: HttpResponse) -> list[dict[str, Any]]:
    """The models of a listing, by the names that Google's examples use: without the `models/` before them."""
    return [{**entry, "id": entry["id"].removeprefix("models/")} for entry in model_entries(response)]


class _AnyStreamDecoder:
    """Reads a stream of either endpoint, as the first event says that tells. Those before it, such as an error, both
    endpoints have alike.
    """

    def __init__(self) -> None:
        self._reader: openai_stream.StreamDecoder | gemini_answer.StreamDecoder = openai_stream.StreamDecoder()
        self._is_decided = False

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def end(self) -> StreamEnd:
        return self._reader.end

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        if not self._is_decided and (native := _is_native(event.data)) is not None:
            self._is_decided = True
            self._reader = gemini_answer.StreamDecoder() if native else self._reader
        return self._reader.feed(event)

    def finish(self) -> StreamDelta:
        return self._reader.finish()


def _is_native(body: bytes | str) -> bool | None:
    """Whether an answer, or a part of one, comes from Gemini's own API; None if that cannot be seen."""
    try:
        data: Any = from_json(body)
    except ValueError:
        return None
    keys: set[str] = set(cast(dict[str, Any], data)) if isinstance(data, dict) else set()
    return False if keys & _OF_COMPATIBLE else True if keys & _OF_NATIVE else None


def _natively(generation: GenerationParams) -> str | None:
    """The parameter that only Gemini's own API takes; None if there is none."""
    guided = generation.guided_decoding
    if guided is not None:
        schema = guided.schema_dict()
        if guided.choice is not None or (schema is not None and inline_refs(schema) is None):
            return f"guided_decoding.{'choice' if schema is None else 'json (a schema that is part of itself)'}"
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        if getattr(generation, name) != GenerationParams.model_fields[name].default:
            return name
    return next((f"extra_body.{key}" for key in sorted(_NATIVE & generation.extra_body.keys())), None)


def _unable(call: EncoderSettings) -> str | None:
    """Why Gemini's own API cannot be asked with these settings."""
    if not call.url.endswith(PATH):
        return f"remote_params.api_url does not end with {PATH}, so it is not known where that is"
    for key in sorted(_COMPATIBLE & call.generation.extra_body.keys()):
        return f"that knows no generation.extra_body.{key}: use its own words, such as generationConfig.thinkingConfig"
    return None


def _items(message: Message) -> list[ContentItem]:
    return message.content if isinstance(message.content, list) else []


def _is_lacking(item: ContentItem) -> bool:
    """Whether the compatible endpoint does not take this."""
    by_url = item.binary is None and not holds_data(item.content or "")
    return item.is_document() or (item.is_image() and by_url)


def _stream_decoder() -> EventStream:
    return EventStream(_AnyStreamDecoder())


# Both of Gemini's endpoints, as one.
GEMINI = Dialect(
    GeminiEncoder,
    decode,
    _stream_decoder,
    gemini_generate.SUPPORTED,
    path=PATH,
    entries=entries,
)
