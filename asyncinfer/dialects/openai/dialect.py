"""The dialect of OpenAI's chat completions, with the quirks of a server and, if it has one, its Responses API."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asyncinfer.dialects.base import Dialect, EncoderSettings, Fallback
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Patterns, Quirks, Schemas
from asyncinfer.dialects.openai.request import SUPPORTED, ChatEncoder
from asyncinfer.dialects.openai.response import decode
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.openai.responses.request import Responses
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import SSEStreamDecoder
from asyncinfer.types.http import HttpResponse


def openai_chat(quirks: Quirks = NO_QUIRKS, *, responses: Responses | None = None) -> Dialect:
    """Return the dialect of a server with these quirks.

    Args:
        responses: The server also has OpenAI's Responses API, with these differences.
    """
    fallback = replace(quirks, may_lack_json_schema=False, schemas=Schemas.BARE)
    supported = (SUPPORTED | quirks.extensions) - quirks.unsupported
    if quirks.schemas is Schemas.NONE and quirks.patterns is Patterns.NONE:
        supported -= {"guided_decoding"}
    return Dialect(
        _ChatEncoders(quirks),
        decode,
        _stream_decoder,
        supported,
        path="/chat/completions",
        fallback=Fallback(_lacks_json_schema, openai_chat(fallback)) if quirks.may_lack_json_schema else None,
        responses=openai_responses(quirks, responses) if responses is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _ChatEncoders:
    """Makes the encoder of a call for a server with these quirks."""

    quirks: Quirks

    def __call__(self, settings: EncoderSettings) -> ChatEncoder:
        return ChatEncoder(settings, self.quirks)


def _stream_decoder() -> SSEStreamDecoder:
    return SSEStreamDecoder(OpenAIEventDecoder())


def _lacks_json_schema(response: HttpResponse) -> bool:
    """Whether the server says that it supports `json_object`, but not the `json_schema` in the request."""
    return not response.is_success and b"json_schema" in response.body and b"json_object" in response.body
