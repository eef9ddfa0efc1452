"""Turns the settings of a request into the configuration of a call.

Source: `pydantic_ai.settings` of pydantic-ai 2.68, and the mapping of its own `OpenAIChatModel`, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettingName, ModelSettings, ThinkingLevel
from pydantic_ai.tools import ToolDefinition as AgentTool

from asyncinfer.config import InferenceConfig
from asyncinfer.integrations.call_configs import CallConfigs
from asyncinfer.integrations.pydantic_ai.compat import resolve_tool_choice
from asyncinfer.run.bound_engine import CallSettings

# The settings of pydantic-ai, by OpenAI's names for them.
_FIELDS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "stop": "stop_sequences",
    "parallel_tool_calls": "parallel_tool_calls",
    "max_retries": "max_retries",
}
# The settings that only an engine behind an API knows.
REMOTE_SETTINGS: frozenset[ModelSettingName] = frozenset({"timeout", "max_retries", "extra_headers", "extra_body"})
_EFFORTS: Mapping[ThinkingLevel, str] = {True: "medium", False: "none", "max": "xhigh"}


class Request(NamedTuple):
    """The parts of a request besides its messages."""

    config: InferenceConfig | None
    tools: list[AgentTool]


class RequestFactory:
    """Makes the configuration and the tools of each request.

    Args:
        engine_settings: The settings of the engine.
        has_effort: Whether the API has the field `reasoning_effort`.
    """

    def __init__(self, engine_settings: CallSettings, *, has_effort: bool) -> None:
        self._engine_settings = engine_settings
        self._has_effort = has_effort
        self._configs = CallConfigs()

    def new(self, settings: ModelSettings | None, parameters: ModelRequestParameters, profile: ModelProfile) -> Request:
        """Return the configuration and the tools of a request.

        Raises:
            ConfigError: A setting has a wrong value.
            UserError: `tool_choice` contradicts the tools or the output.
        """
        given: Mapping[str, Any] = settings or {}
        fields: dict[str, Any] = {field: given[name] for field, name in _FIELDS.items() if name in given}
        tools, choice = _tools(settings, parameters, profile)
        if tools:
            fields["tool_choice"] = choice
        if parameters.output_mode == "native" and parameters.output_object is not None:
            fields["response_format"] = _response_format(parameters.output_object)
        if "timeout" in given:
            fields["timeout"] = _seconds(given["timeout"])
        if headers := given.get("extra_headers"):
            fields["headers"] = {**self._engine_settings.remote.headers, **headers}
        if body := self._body(given, parameters):
            fields["extra_body"] = {**self._engine_settings.generation.extra_body, **body}
        return Request(self._configs.find(fields), tools)

    def _body(self, given: Mapping[str, Any], parameters: ModelRequestParameters) -> dict[str, Any]:
        """Return the fields that only one API knows."""
        body = dict(cast(Mapping[str, Any], given.get("extra_body") or {}))
        if self._has_effort and parameters.thinking is not None:
            body.setdefault("reasoning_effort", _EFFORTS.get(parameters.thinking, parameters.thinking))
        return body


def _seconds(timeout: Any) -> float:
    """Return a timeout, which may be httpx's, in seconds; 0 for no limit."""
    seconds = timeout if timeout is None or isinstance(timeout, int | float) else timeout.read
    return 0 if seconds is None else seconds


def _tools(
    settings: ModelSettings | None, parameters: ModelRequestParameters, profile: ModelProfile
) -> tuple[list[AgentTool], str | dict[str, Any]]:
    """Return the tools to send, and which of them the model must or may call."""
    tools = parameters.declared_tool_defs
    resolved = resolve_tool_choice(settings, parameters)
    forces = profile.get("supports_forced_tool_choice", True)
    if isinstance(resolved, str):
        return list(tools.values()), resolved if forces or resolved != "required" else "auto"
    mode, names = resolved
    if mode == "required" and len(names) == 1 and forces:
        return list(tools.values()), {"type": "function", "function": {"name": next(iter(names))}}
    return [tool for tool in tools.values() if tool.name in names], mode if forces else "auto"


def _response_format(output: OutputObjectDefinition) -> dict[str, Any]:
    schema = dict(output.json_schema)
    if output.description:
        schema.setdefault("description", output.description)
    described = {"name": output.name or "Response", "schema": schema, "strict": output.strict}
    return {"type": "json_schema", "json_schema": described}
