"""Encodes requests to Gemini's own API, `generateContent`.

Sources: Google's "Generate content" reference, "File input methods" (Google fetches public URLs since January 2026),
the guides "Thought signatures" and "Structured outputs", and google-genai 3.6, November 2026.
"""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import quote

from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.google.content import contents, declaration, system_parts
from asyncinfer.dialects.google.settings import generation_config, thinking_config, tool_config
from asyncinfer.dialects.http import HEADERS, json_body
from asyncinfer.dialects.media import GOOGLE_IMAGES, file_of
from asyncinfer.dialects.tool_results import with_files_after_results
from asyncinfer.dialects.unsent_keys import SentKeys
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.media_types import PDF

SUPPORTED = frozenset(
    {
        "extra_body",
        "frequency_penalty",
        "guided_decoding",
        "logprobs",
        "max_new_tokens",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
# The files that Gemini accepts in the results of tools, since version 3, if they are sent with their data. Source:
# "Function calling: multimodal function responses", November 2026.
_IN_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", PDF})
_VERSION = re.compile(r"gemini-(\d+)")
SENT_KEYS = SentKeys(image=frozenset({"detail"}), document=frozenset({"detail"}))


class GenerateEncoder:
    """Makes the requests of one call.

    Args:
        base: The URL of the API, with its version.

    Raises:
        ConfigError: The API does not support these settings.
    """

    dropped: frozenset[str] = frozenset()

    def __init__(self, settings: EncoderSettings, base: str) -> None:
        name = settings.model.model_name or ""
        path = name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"
        self._url, self._timeout = f"{base}/{quote(path)}", settings.timeout
        version = _VERSION.search(name)
        has_levels = version is None or int(version[1]) >= 3
        thinking = thinking_config(settings.generation.reasoning_effort, has_levels=has_levels)
        self._config = generation_config(settings.generation) | thinking
        self.takes_files_in_results = version is not None and has_levels
        self._tool_config = tool_config(settings.generation.tool_choice)
        self._extra, self._warn = settings.generation.extra_body, settings.warn

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The API does not support this request.
        """
        SENT_KEYS.check(conversation, self._warn)
        messages = with_files_after_results(conversation.messages, self._is_accepted_in_result)
        body: dict[str, Any] = {"contents": contents(messages), "generationConfig": self._config}
        if system := system_parts(conversation):
            body["systemInstruction"] = {"role": "user", "parts": system}
        if conversation.tools:
            body["tools"] = [{"functionDeclarations": [declaration(tool) for tool in conversation.tools]}]
            body |= self._tool_config
        method = ":streamGenerateContent?alt=sse" if stream else ":generateContent"
        return HttpRequest(
            self._url + method, HEADERS, json_body(_merged(body, self._extra), {}), timeout=self._timeout
        )

    def _is_accepted_in_result(self, item: ContentItem) -> bool:
        """Whether the model accepts an item in the result of a tool."""
        if item.is_text() or not self.takes_files_in_results:
            return item.is_text()
        file = file_of(item, GOOGLE_IMAGES)
        return not isinstance(file, str) and file.media_type in _IN_RESULTS


def _merged(body: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return `body` with `extra` merged into it, object by object, because most settings are in `generationConfig`.

    A null removes the field.
    """
    merged = dict(body)
    for key, value in extra.items():
        present = merged.get(key)
        both = isinstance(present, dict) and isinstance(value, dict)
        merged[key] = _merged(cast(dict[str, Any], present), cast(dict[str, Any], value)) if both else value
    return {key: value for key, value in merged.items() if value is not None}
