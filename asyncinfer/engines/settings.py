"""The settings in effect for one call of an engine."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from asyncinfer.config import GenerationParams, InferenceConfig, RemoteParams
from asyncinfer.config.row_key import hashed_fields
from asyncinfer.errors import ConfigError

log = logging.getLogger("asyncinfer")

# All calls of an engine share one controller, so these are fixed when the engine is made.
_FIXED = frozenset(
    {
        "adaptive",
        "input_tokens_per_minute",
        "num_workers",
        "output_tokens_per_minute",
        "politeness_policy",
        "requests_per_minute",
        "use_adaptive_concurrency",
    }
)

# Only NATIVE reads `use_sampling`. Other engines decide by the temperature, as in Oumi, without a warning. Answers are
# validated by `response_model` for every engine.
_IMPLIED = frozenset({"response_model", "use_sampling"})


def remote_in_effect(own: RemoteParams | None, call: RemoteParams | None) -> RemoteParams | None:
    """The engine's remote parameters, with those that the call sets. A null leaves the engine's value.

    Raises:
        ConfigError: The call would send requests to endpoints that the engine does not have.
    """
    if own is None or call is None:
        return own
    if call.endpoints and call.endpoints != own.endpoints:
        raise ConfigError("remote_params.endpoints: a call cannot change them; make an engine with these endpoints")
    if own.endpoints and call.api_url is not None:
        raise ConfigError("remote_params.api_url: the engine has several endpoints; make an engine for this URL")
    given = {name: getattr(call, name) for name in call.model_fields_set}
    return own.model_copy(update={name: value for name, value in given.items() if value is not None})


def fixed_and_ignored(own: RemoteParams | None, call: RemoteParams | None) -> list[str]:
    """The parameters that the call sets to another value, although they are fixed when the engine is made."""
    if call is None or own is None:
        return []
    changed = call.model_fields_set & _FIXED
    return sorted(name for name in changed if getattr(call, name) != getattr(own, name))


def with_response_model(config: InferenceConfig, response_model: Any) -> InferenceConfig:
    """Return the config with this model of the answers; unchanged if it is None.

    Raises:
        ConfigError: It is not a model.
    """
    if response_model is None:
        return config
    given = {name: getattr(config.generation, name) for name in config.generation.model_fields_set}
    try:
        generation = GenerationParams(**{**given, "response_model": response_model})
    except ConfigError as error:
        raise ConfigError(str(error).replace("GenerationParams: ", "")) from None
    return config.model_copy(update={"generation": generation})


def unsupported(generation: GenerationParams, supported: Iterable[str]) -> frozenset[str]:
    """The parameters that are set, are not in `supported`, and could change an answer.

    A null is not a setting: it means the default of the API.
    """
    defaults = GenerationParams()
    names = set(hashed_fields(GenerationParams)) - set(supported) - _IMPLIED
    return frozenset(name for name in names if getattr(generation, name) not in (None, getattr(defaults, name)))


def is_same(one: InferenceConfig | None, other: InferenceConfig | None) -> bool:
    """Whether two configs have the same values and the same explicit fields: only those override the engine's."""
    if one is None or other is None:
        return one is other
    return one == other and _explicit(one) == _explicit(other)


def _explicit(config: InferenceConfig) -> list[set[str]]:
    groups = (config, config.model, config.generation, config.remote_params)
    return [group.model_fields_set for group in groups if group is not None]
