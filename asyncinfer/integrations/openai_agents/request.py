"""Turns the input of a call of a model in the Agents SDK into a conversation and settings.

The SDK's own converter for chat completions turns items into messages; a `Message` accepts their format.
Source: `agents.models.openai_chatcompletions` of openai-agents 0.24, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from agents import Handoff, ModelSettings, Tool, TResponseInputItem
from agents.agent_output import AgentOutputSchemaBase
from agents.models.chatcmpl_converter import Converter
from agents.models.reasoning_content_replay import ReasoningContentReplayContext
from openai import Omit

from asyncinfer.dialects.openai.request_reader import SETTINGS
from asyncinfer.run.bound_engine import CallSettings

Json = dict[str, Any]
# The settings of the SDK that have a field of the same name in OpenAI's format.
_SAME = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "parallel_tool_calls")
# The settings that only some APIs have a field for.
_BODY = ("verbosity", "metadata", "store", "prompt_cache_retention", "prompt_cache_options")


def messages_of(instructions: str | None, items: str | list[TResponseInputItem], model: str) -> list[Json]:
    """Return the messages of a conversation.

    Raises:
        UserError: An item cannot be sent as a message.
    """
    converted = Converter.items_to_messages(
        items,
        model=model,
        preserve_thinking_blocks=True,
        preserve_tool_output_all_content=True,
        should_replay_reasoning_content=_is_own_reasoning,
    )
    messages = [_with_known_role(cast(Json, message)) for message in converted]
    return [{"role": "system", "content": instructions}, *messages] if instructions else messages


def tools_of(tools: Sequence[Tool], handoffs: Sequence[Handoff[Any, Any]]) -> list[Json]:
    """Return the tools, and the handoffs as tools.

    Raises:
        UserError: A tool is not a function; only the SDK's own models have hosted tools.
    """
    definitions = [Converter.tool_to_openai(tool) for tool in tools]
    definitions += [Converter.convert_handoff_tool(handoff) for handoff in handoffs]
    return [cast(Json, definition) for definition in definitions]


def call_settings(
    settings: ModelSettings,
    engine_settings: CallSettings,
    output: AgentOutputSchemaBase | None,
    *,
    has_tools: bool,
) -> Json:
    """Return the settings of a call, as `CallConfigs` takes them.

    Args:
        engine_settings: The settings of the engine. Headers and additional fields of the call are added to them.
        output: The type of the answer, as a JSON schema; None for a text.
        has_tools: Whether the request has tools, so that it may have a `tool_choice`.
    """
    fields: Json = {name: getattr(settings, name) for name in _SAME}
    body: Json = {name: value for name in _BODY if (value := getattr(settings, name)) is not None}
    if settings.top_logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": settings.top_logprobs}
    if has_tools:
        fields["tool_choice"] = _given(Converter.convert_tool_choice(settings.tool_choice))
    fields["response_format"] = _given(Converter.convert_response_format(output))
    if settings.reasoning is not None and settings.reasoning.effort is not None:
        body["reasoning_effort"] = settings.reasoning.effort
    for name, value in (settings.extra_args or {}).items():
        (fields if name in SETTINGS else body)[name] = value
    body |= cast(Mapping[str, Any], settings.extra_body or {})
    if body:
        fields["extra_body"] = {**engine_settings.generation.extra_body, **body}
    if settings.extra_headers:
        fields["headers"] = {**engine_settings.remote.headers, **settings.extra_headers}
    return fields


def _given(value: Any) -> Any:
    """Return a value of the converter; None if it is `Omit`, which marks a field that is left out."""
    return None if isinstance(value, Omit) else value


def _with_known_role(message: Json) -> Json:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _is_own_reasoning(context: ReasoningContentReplayContext) -> bool:
    """Return whether reasoning goes back to the model that wrote it. Engines send it only to APIs that expect it."""
    return context.reasoning.origin_model == context.model
