"""The dialect of Anthropic's Messages API."""

from __future__ import annotations

from urllib.parse import urlencode

from asyncinfer.dialects.anthropic.messages import SUPPORTED, VERSION_HEADERS, MessagesEncoder, decode, usage_of
from asyncinfer.dialects.anthropic.stream import AnthropicEventDecoder
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.http import json_object
from asyncinfer.dialects.sse import SSEStreamDecoder
from asyncinfer.types.http import HttpResponse


def more_models(page: HttpResponse) -> str | None:
    """Return the query of the next page of the list of models; None after the last page."""
    listed = json_object(page)
    last = listed.get("last_id")
    return urlencode({"after_id": last}) if listed.get("has_more") and isinstance(last, str) and last else None


def _stream_decoder() -> SSEStreamDecoder:
    return SSEStreamDecoder(AnthropicEventDecoder())


ANTHROPIC_MESSAGES = Dialect(
    MessagesEncoder,
    decode,
    _stream_decoder,
    SUPPORTED,
    path="/messages",
    models_path="/models?limit=1000",  # The maximum of a page.
    headers=VERSION_HEADERS,
    more_models=more_models,
    guides_with_tools=True,
    usage_of=usage_of,
)
