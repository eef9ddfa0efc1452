"""The dialect of Amazon Bedrock's Converse, whole.

Its listing is after the Bedrock API reference ("ListFoundationModels"), November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.request import SUPPORTED, ConverseEncoder
from asyncinfer.dialects.bedrock.response import decode
from asyncinfer.dialects.bedrock.stream import ConverseStream
from asyncinfer.dialects.http import HttpResponse, json_object, malformed_response


def model_summaries(response: HttpResponse) -> list[dict[str, Any]]:
    """The entries of a listing of models, in order; of `type` "chat" those that read text and write it.

    Raises:
        RequestError: it is no listing.
    """
    data = json_object(response)
    try:
        entries = [{**entry, "id": str(entry["modelId"]), "type": _type(entry)} for entry in data["modelSummaries"]]
    except (KeyError, TypeError, AttributeError):
        raise malformed_response("lists no models") from None
    return sorted(entries, key=lambda entry: entry["id"])


def models_url(url: str) -> str:
    """Where models are listed: not by the service that runs them."""
    return f"{re.sub(r'(?<=://)bedrock-runtime(?=[.-])', 'bedrock', url).rstrip('/')}/foundation-models"


def _type(entry: Mapping[str, Any]) -> str:
    reads, writes = entry.get("inputModalities") or (), entry.get("outputModalities") or ()
    return "chat" if "TEXT" in reads and "TEXT" in writes else "other"


# Converse and ConverseStream. Their path holds the model's name, so the URL of a call ends before it.
BEDROCK_CONVERSE = Dialect(
    ConverseEncoder,
    decode,
    ConverseStream,
    SUPPORTED,
    path="",
    stream_type="application/vnd.amazon.eventstream",
    entries=model_summaries,
    models_url=models_url,
)
