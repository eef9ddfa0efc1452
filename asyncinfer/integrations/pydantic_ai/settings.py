"""Turns the settings of a request into the configuration of a call.

Source: `pydantic_ai.settings` of pydantic-ai 2.68, and the mapping of its own `OpenAIChatModel`, November 2026.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettingName, ModelSettings, ThinkingLevel
from pydantic_ai.tools import ToolDefinition as AgentTool
from pydantic_core import to_json

from asyncinfer.config import InferenceConfig, RemoteParams
from asyncinfer.dialects.openai.request_reader import generation_of
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
}
# The settings that only an engine behind an API knows.
REMOTE_SETTINGS: frozenset[ModelSettingName] = frozenset({"timeout", "max_retries", "extra_headers", "extra_body"})
_EFFORTS: Mapping[ThinkingLevel, str] = {True: "medium", False: "none", "max": "xhigh"}
# As many as an engine keeps prepared.
_MOST_CONFIGS = 16


class Request(NamedTuple):
    """What a request sends beside the messages."""

    config: InferenceConfig
    tools: list[AgentTool]


class RequestSettings:
    """Makes the configurations of calls. The same settings give the same object, which the engine prepares only once.

    Args:
        own: The settings of the engine.
        has_effort: Whether the API has the field `reasoning_effort`.
    """

    def __init__(self, own: CallSettings, *, has_effort: bool) -> None:
        self._own = own
        self._has_effort = has_effort
        self._configs: OrderedDict[bytes, InferenceConfig] = OrderedDict()

    def request(
        self, settings: ModelSettings | None, parameters: ModelRequestParameters, profile: ModelProfile
    ) -> Request:
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
        extra = dict(cast(Mapping[str, Any], given.get("extra_body") or {}))
        if self._has_effort and parameters.thinking is not None:
            extra.setdefault("reasoning_effort", _EFFORTS.get(parameters.thinking, parameters.thinking))
        return Request(self._config(fields, extra, _remote(given)), tools)

    def _config(self, fields: dict[str, Any], extra: dict[str, Any], remote: dict[str, Any]) -> InferenceConfig:
        key = to_json((fields, extra, remote), fallback=repr)
        config = self._configs.get(key)
        if config is None:
            config = self._configs[key] = self._new_config(fields, extra, remote)
            if len(self._configs) > _MOST_CONFIGS:
                self._configs.popitem(last=False)
        self._configs.move_to_end(key)
        return config

    def _new_config(self, fields: dict[str, Any], extra: dict[str, Any], remote: dict[str, Any]) -> InferenceConfig:
        generation = generation_of(fields)
        if extra:
            body = {**self._own.generation.extra_body, **extra}
            generation = generation.model_copy(update={"extra_body": body})
        if "headers" in remote:
            remote = {**remote, "headers": {**self._own.remote.headers, **remote["headers"]}}
        return InferenceConfig(generation=generation, remote_params=RemoteParams(**remote) if remote else None)


def _remote(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for an engine behind an API."""
    remote: dict[str, Any] = {}
    if (timeout := given.get("timeout")) is not None:
        seconds = timeout if isinstance(timeout, int | float) else timeout.read
        remote["connection_timeout"] = 0 if seconds is None else seconds
    if (retries := given.get("max_retries")) is not None:
        remote["max_retries"] = retries
    if headers := given.get("extra_headers"):
        remote["headers"] = dict(headers)
    return remote


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
