"""The dialect of Vertex AI's OpenAI-compatible endpoint.

Source of its differences from OpenAI: the page "Chat Completions API" (September 2026). For Google's models, the
endpoint ignores parameters that it does not support.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from asyncinfer.dialects.base import model_entries
from asyncinfer.dialects.google.schemas import supported_schema
from asyncinfer.dialects.http import json_object
from asyncinfer.dialects.media import GOOGLE_IMAGES
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import DocumentForm, Files, Quirks
from asyncinfer.types.http import HttpResponse

QUIRKS = Quirks(
    token_limit="max_completion_tokens",
    unsupported_by_prefix={
        "google/": frozenset({"logit_bias", "logprobs", "parallel_tool_calls", "top_logprobs"}),
    },
    user=None,
    inline_refs=True,
    schema_transform=supported_schema,
    image_types=GOOGLE_IMAGES,
    merges_messages=True,
    blank_texts=False,
    documents=Files.ALL,
    document_form=DocumentForm.MEDIA,
    passthrough=frozenset({"extra_content"}),
)


def entries(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the entries of a list of models, with ids as chat requests use them: `google/gemini-2.5-flash`."""
    return [{**entry, "id": _name(entry["id"])} for entry in model_entries(response)]


def more_models(response: HttpResponse) -> str | None:
    """Return the query of the next page of the list of models; None after the last page."""
    token = json_object(response).get("nextPageToken") if response.body.lstrip().startswith(b"{") else None
    return urlencode({"pageToken": token}) if isinstance(token, str) and token else None


def _name(name: str) -> str:
    match name.split("/"):
        case ["publishers", publisher, "models", model]:
            return f"{publisher}/{model}"
        case _:
            return name


VERTEX = replace(openai_chat(QUIRKS), entries=entries, more_models=more_models)
