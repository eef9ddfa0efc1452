"""The dialect of Amazon Bedrock's Converse.

Source of the list of models: Bedrock API reference ("ListFoundationModels"), November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.event_stream import is_frame_stream
from asyncinfer.dialects.bedrock.hosts import control_plane
from asyncinfer.dialects.bedrock.request import SUPPORTED, ConverseEncoder
from asyncinfer.dialects.bedrock.response import decode, usage_of
from asyncinfer.dialects.bedrock.stream import ConverseStreamDecoder
from asyncinfer.dialects.http import json_object
from asyncinfer.types.http import HttpResponse, malformed_response


def model_summaries(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the entries of a list of models, sorted by id. Models that read and write text have the `type` "chat".

    Raises:
        RequestError: The response is not a list of models.
    """
    data = json_object(response)
    try:
        entries = [{**entry, "id": str(entry["modelId"]), "type": _type(entry)} for entry in data["modelSummaries"]]
    except (KeyError, TypeError, AttributeError):
        raise malformed_response("lists no models") from None
    return sorted(entries, key=lambda entry: entry["id"])


def models_url(url: str) -> str:
    """Return the URL of the list of models. One service runs the models, and another one lists them."""
    return f"{control_plane(url)}/foundation-models"


def _type(entry: Mapping[str, Any]) -> str:
    reads, writes = entry.get("inputModalities") or (), entry.get("outputModalities") or ()
    return "chat" if "TEXT" in reads and "TEXT" in writes else "other"


# Converse and ConverseStream. Their path contains the name of the model, so the URL of a call ends before it.
BEDROCK_CONVERSE = Dialect(
    ConverseEncoder,
    decode,
    ConverseStreamDecoder,
    SUPPORTED,
    path="",
    stream_type="application/vnd.amazon.eventstream",
    is_stream=is_frame_stream,
    entries=model_summaries,
    models_url=models_url,
    usage_of=usage_of,
)
