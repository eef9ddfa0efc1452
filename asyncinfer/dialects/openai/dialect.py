"""The dialect of OpenAI's chat completions, whole: with the quirks of a server that speaks it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asyncinfer.dialects.base import Dialect, EncoderSettings, Fallback
from asyncinfer.dialects.http import HttpResponse
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Patterns, Quirks, Schemas
from asyncinfer.dialects.openai.request import SUPPORTED, ChatEncoder
from asyncinfer.dialects.openai.response import decode
from asyncinfer.dialects.openai.stream import StreamDecoder
from asyncinfer.dialects.sse import EventStream


def openai_chat(quirks: Quirks = NO_QUIRKS) -> Dialect:
    """Chat completions, with these quirks."""
    old = replace(quirks, schemas_may_be_old=False, schemas=Schemas.BARE)
    guides = quirks.schemas is not Schemas.NONE or quirks.patterns is not Patterns.NONE
    return Dialect(
        _ChatEncoders(quirks),
        decode,
        _stream_decoder,
        (SUPPORTED | quirks.extensions) - quirks.unsupported - (frozenset[str]() if guides else {"guided_decoding"}),
        path="/chat/completions",
        fallback=Fallback(_knows_old_schemas_only, openai_chat(old)) if quirks.schemas_may_be_old else None,
    )


@dataclass(frozen=True, slots=True)
class _ChatEncoders:
    """Makes the encoder of a call for a server with these quirks."""

    quirks: Quirks

    def __call__(self, settings: EncoderSettings) -> ChatEncoder:
        return ChatEncoder(settings, self.quirks)


def _stream_decoder() -> EventStream:
    return EventStream(StreamDecoder())


def _knows_old_schemas_only(response: HttpResponse) -> bool:
    """Whether the server says that it knows `json_object` and not the `json_schema` that it was sent."""
    return response.status != 200 and b"json_schema" in response.body and b"json_object" in response.body
