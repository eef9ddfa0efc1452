"""Encodes requests to Gemini's own API, `generateContent`.

Sources: Google's "Generate content" reference, "File input methods" (Google fetches public URLs since January 2026),
the guides "Thought signatures" and "Structured outputs", and google-genai 3.6, November 2026.

Signatures are stored under `extra_content`, where Google's OpenAI-compatible endpoint puts them, so that a conversation
can continue over either endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import quote, urlsplit

from pydantic_core import from_json

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.google.schemas import supported_schema
from asyncinfer.dialects.google.thoughts import of_google
from asyncinfer.dialects.http import HEADERS, json_body
from asyncinfer.dialects.json_schema.growth import schema_of_setting, schema_of_tool
from asyncinfer.dialects.media import GOOGLE_IMAGES, file_of
from asyncinfer.dialects.tool_results import with_files_after_results
from asyncinfer.dialects.tools import arguments_of, chosen_function
from asyncinfer.dialects.turns import Turn, is_blank, merged_turns
from asyncinfer.dialects.unsent_keys import SentKeys
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.media_types import PDF
from asyncinfer.types.tools import ToolCall, ToolDefinition

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
_ROLES = {"assistant": "model"}
_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY", "validated": "VALIDATED"}
# The types of images that Gemini accepts, by file extension. For other URLs, Google determines the type.
_KINDS = {kind: f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif")} | {"jpg": "image/jpeg"}
# The files that Gemini accepts in the results of tools, since version 3, if they are sent with their data. Source:
# "Function calling: multimodal function responses", November 2026.
_IN_RESULTS = frozenset({"image/png", "image/jpeg", "image/webp", PDF})
_VERSION = re.compile(r"gemini-(\d+)")
_IN_FILES = "The result is in the attached files."
_DETAIL = {name: f"MEDIA_RESOLUTION_{name.upper()}" for name in ("low", "medium", "high")}
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
        thinking = _thinking(settings.generation.reasoning_effort, has_levels=has_levels)
        self._config = _config(settings.generation) | thinking
        self.takes_files_in_results = version is not None and has_levels
        self._tool_config = _tool_config(settings.generation.tool_choice)
        self._extra, self._warn = settings.generation.extra_body, settings.warn

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The API does not support this request.
        """
        SENT_KEYS.check(conversation, self._warn)
        messages = with_files_after_results(conversation.messages, self._is_accepted_in_result)
        body: dict[str, Any] = {"contents": _contents(messages), "generationConfig": self._config}
        if system := _system_parts(conversation):
            body["systemInstruction"] = {"role": "user", "parts": system}
        if conversation.tools:
            body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in conversation.tools]}]
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


# The conversation


def _system_parts(conversation: Conversation) -> list[dict[str, Any]]:
    parts = (part for message in conversation.filter_messages(role=Role.SYSTEM) for part in _parts(message))
    return [part for part in parts if not is_blank(part)]


def _contents(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the turns. Adjacent messages of the same role become one turn. Adjacent tool results become one turn of
    their own, because it must have as many parts as the turn before it has calls. System messages are not turns.
    """
    turns = merged_turns(_turns(messages))
    return [{"role": _ROLES.get(turn.role, "user"), "parts": turn.blocks} for turn in turns]


def _turns(messages: Sequence[Message]) -> Iterator[Turn]:
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.function.name for call in message.tool_calls or ()}
        if message.role is Role.TOOL:
            yield Turn("tool", [_result(message, names)])
        elif message.role is not Role.SYSTEM:
            yield Turn(message.role.value, _parts(message))


def _parts(message: Message) -> list[dict[str, Any]]:
    """Return the parts of a message. The signature of a message belongs to its last text."""
    parts = [_part(item) for item in message.content_items]
    if signature := _signature(message):
        if not parts or "text" not in parts[-1]:
            parts.append({"text": ""})
        parts[-1] |= signature
    return [*parts, *(_call(call) for call in message.tool_calls or ())]


def _part(item: ContentItem) -> dict[str, Any]:
    if item.is_text():
        return {"text": item.content}
    level = _DETAIL.get(str((item.model_extra or {}).get("detail")))
    return {**_file(item), **({"mediaResolution": {"level": level}} if level is not None else {})}


def _file(item: ContentItem) -> dict[str, Any]:
    file = file_of(item, GOOGLE_IMAGES)
    if not isinstance(file, str):
        return {"inlineData": {"mimeType": file.media_type, "data": file.base64}}
    kind = PDF if item.is_document() else _KINDS.get(_path(file).rpartition(".")[2].lower())
    return {"fileData": {"fileUri": file, **({"mimeType": kind} if kind else {})}}


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # An invalid IPv6 address.
        raise invalid_request(f"{url[:100]!r} is not a valid URL") from None


def _call(call: ToolCall) -> dict[str, Any]:
    fields = {"id": call.id, "name": call.function.name, "args": arguments_of(call)}
    return {"functionCall": fields, **_signature(call)}


def _result(message: Message, names: dict[str, str]) -> dict[str, Any]:
    """Return the result of a tool: its JSON object, or its text under `output`, and its files."""
    name = names.get(message.tool_call_id or "") or message.name
    if name is None:
        raise invalid_request(f"a tool message answers {message.tool_call_id!r}, but no earlier message has this call")
    files = [_part(item) for item in message.content_items if not item.is_text()]
    text = message.compute_flattened_text_content("\n")
    identity = {"id": message.tool_call_id} if message.tool_call_id is not None else {}
    response = _object(text)
    output = {"output": text or (_IN_FILES if files else "")} if response is None else response
    parts = {"parts": files} if files else {}
    return {"functionResponse": {**identity, "name": name, "response": output, **parts}}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value: Any = from_json(text)
    except ValueError:
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _signature(signed: Message | ToolCall) -> dict[str, Any]:
    """Return the field for the signature of the thought behind a message or a call."""
    signature = of_google(signed.model_extra or {}).get("thought_signature")
    return {"thoughtSignature": signature} if isinstance(signature, str) and signature else {}


# The settings


def _config(generation: GenerationParams) -> dict[str, Any]:
    """Return the sampling settings. Defaults are left out, except those of the token limit and the temperature."""
    config: dict[str, Any] = {}
    if generation.max_new_tokens is not None:
        config["maxOutputTokens"] = generation.max_new_tokens
    if generation.temperature is not None:
        config["temperature"] = generation.temperature
    if generation.top_p is not None:
        config["topP"] = generation.top_p
    if generation.top_k is not None and generation.top_k > 0:
        config["topK"] = generation.top_k
    if generation.n > 1:
        config["candidateCount"] = generation.n
    if generation.stop_strings:
        config["stopSequences"] = generation.stop_strings
    if generation.seed is not None:
        config["seed"] = generation.seed
    if generation.frequency_penalty:
        config["frequencyPenalty"] = generation.frequency_penalty
    if generation.presence_penalty:
        config["presencePenalty"] = generation.presence_penalty
    if generation.wants_logprobs:
        config["responseLogprobs"] = True
    if generation.top_logprobs:
        config["logprobs"] = generation.top_logprobs
    return config | _guided(generation.guided_decoding)


# Tokens of thoughts for each effort, for models before Gemini 3. As in the table of "OpenAI compatibility: thinking".
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}


def _thinking(effort: str | None, *, has_levels: bool) -> dict[str, Any]:
    """Return the setting for how much the model thinks.

    Args:
        has_levels: The model takes a level. Older ones take a number of tokens.

    Raises:
        ConfigError: The model has no such effort.
    """
    if effort is None:
        return {}
    if has_levels and effort != "none":
        return {"thinkingConfig": {"thinkingLevel": effort.upper()}}
    if has_levels or effort not in _BUDGETS:
        known = "minimal, low, medium, high, xhigh" if has_levels else ", ".join(_BUDGETS)
        raise ConfigError(f"generation.reasoning_effort: this model accepts {known} (found {effort!r})")
    return {"thinkingConfig": {"thinkingBudget": _BUDGETS[effort]}}


def _guided(guided: GuidedDecodingParams | None) -> dict[str, Any]:
    if guided is None:
        return {}
    if guided.regex is not None:
        raise ConfigError("generation.guided_decoding.regex: this API supports only json and choice")
    if guided.choice is not None:
        return {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": guided.choice}}
    if (schema := guided.schema_dict()) is None:
        return {}
    with schema_of_setting():
        return {"responseMimeType": "application/json", "responseJsonSchema": supported_schema(schema)}


def _declaration(tool: ToolDefinition) -> dict[str, Any]:
    function = tool.function
    declared: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        declared["description"] = function.description
    if function.parameters is not None:
        with schema_of_tool(function.name):
            declared["parametersJsonSchema"] = supported_schema(function.parameters)
    return declared


def _tool_config(choice: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields about the choice of tools, for requests with tools."""
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in _MODES:
        return {"toolConfig": {"functionCallingConfig": {"mode": _MODES[choice]}}}
    if (name := chosen_function(choice)) is None:
        known = ", ".join(_MODES)
        raise ConfigError(f"generation.tool_choice: should be {known}, or name a function (found {choice!r})")
    return {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}}
