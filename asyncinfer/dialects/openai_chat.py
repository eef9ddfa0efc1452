"""OpenAI's chat completions, and those of the many servers that speak them with quirks of their own.

Written after OpenAI's API reference ("Create chat completion") and openai-python 2.54, November 2026; vLLM's
`structured_outputs` after its "Structured Outputs" page (v0.12 and later).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.dialect import Call
from asyncinfer.dialects.flat_schema import flat
from asyncinfer.dialects.http import (
    HEADERS,
    HttpRequest,
    HttpResponse,
    garbled,
    json_body,
    json_object,
    message_in,
    refusal,
)
from asyncinfer.dialects.media import PDF, data_url, file_of
from asyncinfer.dialects.strict_schema import strict
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role, Type
from asyncinfer.types.results import (
    Completion,
    FinishReason,
    Usage,
    unanswerable,
)
from asyncinfer.types.tools import ToolCall, ToolDefinition

SUPPORTED = frozenset(
    {
        "extra_body",
        "frequency_penalty",
        "guided_decoding",
        "logit_bias",
        "max_new_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_p",
    }
)
_DEFAULTS = dict(GenerationParams())
# What a reasoning model refuses.
_NOT_WHERE_REASONED = frozenset({"temperature", "logit_bias"})


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a server differs from the others.

    `token_limit`: the field that bounds the answer. `extensions`: our parameters that it takes beyond
    OpenAI's, under the same name. `structured_outputs`: it takes vLLM's field of that name, and so regular
    expressions and choices. `old_schemas`: it takes a JSON schema beside `json_object`, not as `json_schema`, as
    llama-cpp-python's server does; `schemas_may_be_old`: only its errors tell. `adapters`: a LoRA adapter is
    asked for as the model. `reasoning_models`: the beginnings of the names of models that take no temperature
    but 1, and no logit bias. `lacking`: our parameters that models whose names begin so are not told of; those of
    every model under an empty beginning. `end_user`: the field for the user's id, if there is one. `flat_schemas`:
    schemas, those of tools too, must hold no references. `any_media`: an image's URL may hold a document, and a
    document's URL goes as audio of its media type, as Vertex has it. `signed`: `extra_content` of its messages goes
    back to it, which is Google's signature of a thought.
    """

    token_limit: str = "max_tokens"
    extensions: frozenset[str] = frozenset()
    structured_outputs: bool = False
    old_schemas: bool = False
    schemas_may_be_old: bool = False
    adapters: bool = False
    reasoning_models: tuple[str, ...] = ()
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    end_user: str | None = "user"
    flat_schemas: bool = False
    any_media: bool = False
    signed: bool = False

    def refused(self, model: str) -> frozenset[str]:
        """The parameters that this model is not told of."""
        refused = _NOT_WHERE_REASONED if model.startswith(self.reasoning_models) else frozenset[str]()
        return refused.union(*(names for beginning, names in self.lacking.items() if model.startswith(beginning)))


NO_QUIRKS = Quirks()


class ChatEncoder:
    """Makes the bodies of requests that differ only in their conversation.

    Raises:
        ConfigError: nothing can be asked with these settings.
    """

    def __init__(self, call: Call, quirks: Quirks) -> None:
        model, generation = call.model, call.generation
        name = (quirks.adapters and model.adapter_model) or model.model_name or ""
        refused = quirks.refused(name)
        self.dropped = refused & generation.model_fields_set
        generation = generation.model_copy(update={name: _DEFAULTS[name] for name in refused - {"temperature"}})
        self._url, self._timeout = call.url, call.timeout
        self._shared: dict[str, Any] = {
            "model": name,
            quirks.token_limit: generation.max_new_tokens,
            **{name: value for name, value in _sampling(generation, quirks).items() if name not in refused},
            **_guided(generation.guided_decoding, quirks),
            **({quirks.end_user: call.user_id} if quirks.end_user and call.user_id is not None else {}),
        }
        self._with_tools, self._extra, self._quirks = _tools(generation), generation.extra_body, quirks

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: the server cannot be asked this.
        """
        body = {**self._shared, "messages": [_message(message, self._quirks) for message in conversation.messages]}
        if conversation.tools:
            body |= {"tools": [_tool(tool, self._quirks) for tool in conversation.tools]}
            body |= self._with_tools
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return HttpRequest(self._url, HEADERS, json_body(body, self._extra), timeout=self._timeout)


def decode(response: HttpResponse) -> Completion:
    """The answer in a response.

    Raises:
        RequestError: it holds none.
    """
    data = json_object(response)
    if data.get("error") and not data.get("choices"):
        raise error_in(data["error"], response.body)
    try:
        [choice, *_] = data["choices"]
        return Completion(
            _answer(choice["message"]), finish_reason(choice.get("finish_reason")), usage_in(data.get("usage"))
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise garbled(f"holds no answer: {message_in(response.body)}") from None


# What is asked


def _message(message: Message, quirks: Quirks) -> dict[str, Any]:
    content = message.content
    if isinstance(content, str):
        plain: dict[str, Any] = {"role": message.role.value, "content": content}
    elif content is None:
        plain = {"role": message.role.value, "content": None}
    else:
        plain = {"role": message.role.value, "content": [_item(item, quirks) for item in content]}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump(mode="json", exclude_none=True) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if quirks.signed and (signed := (message.model_extra or {}).get("extra_content")):
        plain["extra_content"] = signed
    return plain


def _item(item: ContentItem, quirks: Quirks) -> dict[str, Any]:
    if item.type is Type.TEXT:
        return {"type": "text", "text": item.content}
    file = file_of(item)
    url = file if isinstance(file, str) else data_url(file)
    if quirks.any_media and item.is_document() and not url.startswith("data:"):
        return {"type": "input_audio", "input_audio": {"data": url, "format": PDF}}
    if item.is_image() or quirks.any_media:
        return {"type": "image_url", "image_url": {"url": url, **(item.model_extra or {})}}
    if not url.startswith("data:"):
        raise unanswerable("this API takes documents by path or as bytes, not by URL")
    return {"type": "file", "file": {"filename": "document.pdf", "file_data": url, **(item.model_extra or {})}}


def _tool(tool: ToolDefinition, quirks: Quirks) -> dict[str, Any]:
    plain = tool.model_dump(mode="json", exclude_none=True)
    if quirks.flat_schemas and tool.function.parameters is not None:
        parameters = flat(tool.function.parameters)
        if parameters is None:
            raise unanswerable(f"tool {tool.function.name!r}: this API takes no schema that is part of itself")
        plain["function"]["parameters"] = parameters
    return plain


def _sampling(generation: GenerationParams, quirks: Quirks) -> dict[str, Any]:
    """What was asked of the sampler; what is at its default is left to the server, but for the temperature."""
    fields: dict[str, Any] = {"temperature": generation.temperature}
    if generation.logit_bias:
        fields["logit_bias"] = {str(token): bias for token, bias in generation.logit_bias.items()}
    if generation.top_p is not None:
        fields["top_p"] = generation.top_p
    if generation.frequency_penalty:
        fields["frequency_penalty"] = generation.frequency_penalty
    if generation.presence_penalty:
        fields["presence_penalty"] = generation.presence_penalty
    if generation.seed is not None:
        fields["seed"] = generation.seed
    if generation.stop_strings:
        fields["stop"] = generation.stop_strings
    for name in quirks.extensions:
        if (value := getattr(generation, name)) != GenerationParams.model_fields[name].default:
            fields[name] = value
    return fields


def _tools(generation: GenerationParams) -> dict[str, Any]:
    """What is said of the tools where there are any."""
    fields: dict[str, Any] = {}
    if generation.tool_choice is not None:
        fields["tool_choice"] = generation.tool_choice
    if not generation.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _guided(guided: GuidedDecodingParams | None, quirks: Quirks) -> dict[str, Any]:
    if guided is None:
        return {}
    if guided.regex is not None or guided.choice is not None:
        name = "regex" if guided.regex is not None else "choice"
        if not quirks.structured_outputs:
            raise ConfigError(f"generation.guided_decoding.{name}: this API follows only json")
        return {"structured_outputs": {name: getattr(guided, name)}}
    schema = guided.schema_dict()
    if schema is None:
        return {}
    if quirks.old_schemas:
        return {"response_format": {"type": "json_object", "schema": schema}}
    shape: dict[str, Any] = {"name": getattr(guided.json, "__name__", "Response"), "schema": schema}
    if guided.strict:
        shape |= {"schema": strict(schema), "strict": True}
    if quirks.flat_schemas:
        shape["schema"] = flat(shape["schema"])
        if shape["schema"] is None:
            raise ConfigError("generation.guided_decoding.json: this API takes no schema that is part of itself")
    return {"response_format": {"type": "json_schema", "json_schema": shape}}


# What is answered


def _answer(message: Mapping[str, Any]) -> Message:
    """The assistant's message. A refusal is its text; reasoning comes under either of two names."""
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not calls:
        content = message.get("refusal") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    google = of_google(message)
    if google.get("thought") is True and isinstance(content, str) and content.startswith(THOUGHT):
        reasoning, _, content = content.removeprefix(THOUGHT).partition(END_OF_THOUGHT)
    # Without its signature Google may not take a message back.
    signature = google.get("thought_signature")
    signed: dict[str, Any] = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    if not calls and not signed and reasoning is None and isinstance(content, str):
        return Message(role=Role.ASSISTANT, content=content)
    return Message(
        role=Role.ASSISTANT,
        content=content,
        tool_calls=[tool_call(call) for call in calls] if calls else None,
        reasoning_content=reasoning if isinstance(reasoning, str) else None,
        **signed,
    )


# How Google's servers mark a thought within the text, beside saying so under `extra_content`.
THOUGHT, END_OF_THOUGHT = "<thought>", "</thought>"


def of_google(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Google's servers say beyond OpenAI's fields, of a message, a call, or a part of one."""
    return group(group(message, "extra_content"), "google")


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """A tool call, under an id of its own where the server gave it none.

    Raises:
        ValueError: it names no function, or cannot be read.
    """
    function = group(call, "function")
    if not function.get("name"):
        raise ValueError("a tool call without a name")
    given = {"id": call.get("id") or f"call_{uuid4().hex[:24]}", "type": call.get("type") or "function"}
    arguments = function.get("arguments")
    return ToolCall.model_validate(
        {**call, **given, "function": {**function, "arguments": "" if arguments is None else arguments}}
    )


_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
    # Names that other servers have for the same.
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
}


def finish_reason(reason: str | None) -> FinishReason:
    return _FINISH.get(reason or "", FinishReason.UNKNOWN)


_PLAIN_USAGE = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def usage_in(usage: Any) -> Usage | None:
    """The tokens that a response says it took; what it says in other ways than as numbers is not heeded."""
    if not isinstance(usage, dict) or not usage:
        return None
    told = cast(Mapping[str, Any], usage)
    prompt, completion = _count(told, "prompt_tokens") or 0, _count(told, "completion_tokens") or 0
    total = _count(told, "total_tokens") or prompt + completion
    if total == prompt + completion and told.keys() <= _PLAIN_USAGE:
        return Usage(prompt, completion, total)
    of_prompt, of_completion = group(told, "prompt_tokens_details"), group(told, "completion_tokens_details")
    cached, reasoning = _count(of_prompt, "cached_tokens"), _count(of_completion, "reasoning_tokens")
    # Google's servers count thoughts in the total alone.
    if (beyond := total - prompt - completion) > 0 and reasoning in (None, beyond):
        completion, reasoning = completion + beyond, beyond
    return Usage(
        prompt,
        completion,
        total,
        # DeepSeek tells of its cache beside the counts, not below them.
        cached_tokens=cached if cached is not None else _count(told, "prompt_cache_hit_tokens"),
        cache_creation_tokens=_count(of_prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning,
    )


def _count(told: Mapping[str, Any], name: str) -> int | None:
    count = told.get(name)
    return count if isinstance(count, int) and count >= 0 else None


def group(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where there is none."""
    value = data.get(key)
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def error_in(error: Any, body: bytes) -> RequestError:
    """An error that came as a success, as routers send them when the server behind them fails."""
    code = cast(dict[str, Any], error).get("code") if isinstance(error, dict) else None
    return refusal(code if isinstance(code, int) else None, f"the API answered with an error: {message_in(body)}")
