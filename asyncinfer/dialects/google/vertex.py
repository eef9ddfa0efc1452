"""The dialect of Vertex AI's OpenAI-compatible endpoint, whole.

Its differences are as its "Chat Completions API" page has them (September 2026): what it does not know it ignores, if
the model is Google's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from asyncinfer.dialects.base import model_entries
from asyncinfer.dialects.http import HttpResponse, json_object
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Quirks

QUIRKS = Quirks(
    token_limit="max_completion_tokens",
    models_lack={"google/": frozenset({"logit_bias", "parallel_tool_calls"})},
    user=None,
    flat_schemas=True,
    any_media=True,
    passthrough=frozenset({"extra_content"}),
)


def entries(response: HttpResponse) -> list[dict[str, Any]]:
    """The models of a listing, by the names that chats take: `google/gemini-2.5-flash`."""
    return [{**entry, "id": _name(entry["id"])} for entry in model_entries(response)]


def more_models(response: HttpResponse) -> str | None:
    """The query of the listing's next page."""
    token = json_object(response).get("nextPageToken") if response.body.lstrip().startswith(b"{") else None
    return urlencode({"pageToken": token}) if isinstance(token, str) and token else None


def _name(name: str) -> str:
    match name.split("/"):
        case ["publishers", publisher, "models", model]:
            return f"{publisher}/{model}"
        case _:
            return name


VERTEX = replace(openai_chat(QUIRKS), entries=entries, more_models=more_models)
