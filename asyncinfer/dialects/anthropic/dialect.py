"""The dialect of Anthropic's Messages API, whole."""

from __future__ import annotations

from urllib.parse import urlencode

from asyncinfer.dialects.anthropic.messages import SUPPORTED, VERSIONED, MessagesEncoder, decode
from asyncinfer.dialects.anthropic.stream import StreamDecoder
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.http import HttpResponse, json_object
from asyncinfer.dialects.sse import EventStream


def more_models(page: HttpResponse) -> str | None:
    """The query of the page after this one; None where this is the last."""
    listed = json_object(page)
    last = listed.get("last_id")
    return urlencode({"after_id": last}) if listed.get("has_more") and isinstance(last, str) and last else None


def _stream_decoder() -> EventStream:
    return EventStream(StreamDecoder())


ANTHROPIC_MESSAGES = Dialect(
    MessagesEncoder,
    decode,
    _stream_decoder,
    SUPPORTED,
    path="/messages",
    models_path="/models?limit=1000",  # the most that a page may have
    headers=VERSIONED,
    more_models=more_models,
)
