"""The configs of calls, made from the settings that an agent framework passes with each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import SecretStr
from pydantic_core import to_json

from asyncinfer.config import GenerationParams, InferenceConfig, ModelParams, RemoteParams
from asyncinfer.dialects.openai.request_reader import SETTINGS, generation_of
from asyncinfer.engines.call_setup import MOST_KEPT
from asyncinfer.errors import ConfigError
from asyncinfer.types.lru_cache import LRUCache

# The settings of a call that belong to `remote_params`, each with its parameter.
_REMOTE = {
    "timeout": "connection_timeout",
    "max_retries": "max_retries",
    "api_key": "api_key",
    "user": "user_id",
    "headers": "headers",
}
_GENERATION = frozenset(GenerationParams.model_fields)
_KNOWN = SETTINGS | _GENERATION | frozenset(_REMOTE) | {"model"}


class CallConfigs:
    """Makes the configs of calls, and keeps those that were used last.

    An engine prepares each config object once. Therefore calls with equal settings get the same object. Safe to use
    from several threads.
    """

    def __init__(self) -> None:
        self._kept = LRUCache[bytes, InferenceConfig](MOST_KEPT)

    def find(self, settings: Mapping[str, Any]) -> InferenceConfig | None:
        """Return the config that sets these settings, and nothing else; None if there are none.

        Args:
            settings: By OpenAI's names (`max_tokens`, `stop`, `response_format`) or by the names of `GenerationParams`;
                also `model`, `timeout` (seconds), `max_retries`, `headers`, `api_key` and `user`. None counts as
                missing.

        Raises:
            ConfigError: A setting is unknown or wrong.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        return self._kept.get(_key_of(given), lambda: _config_of(given)) if given else None


def _key_of(settings: Mapping[str, Any]) -> bytes:
    """Return a key that is the same for equal settings. It contains their secrets."""
    return to_json({name: _revealed(settings[name]) for name in sorted(settings)}, serialize_unknown=True)


def _revealed(value: Any) -> Any:
    """Return a value with its secrets as text. JSON would show all secrets as the same asterisks."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {name: _revealed(inner) for name, inner in cast(dict[str, Any], value).items()}
    return value


def _config_of(settings: Mapping[str, Any]) -> InferenceConfig:
    if unknown := settings.keys() - _KNOWN:
        raise ConfigError(
            f"{', '.join(sorted(unknown))}: not a setting of a call. Put fields that only one API knows into "
            "extra_body={...}"
        )
    remote = {_REMOTE[name]: value for name, value in settings.items() if name in _REMOTE}
    return InferenceConfig(
        ModelParams(model_name=settings["model"]) if "model" in settings else ModelParams(),
        _generation(settings),
        remote_params=RemoteParams(**remote) if remote else None,
    )


def _generation(settings: Mapping[str, Any]) -> GenerationParams:
    read = generation_of(settings)
    values = {name: getattr(read, name) for name in read.model_fields_set}
    values |= {name: value for name, value in settings.items() if name in _GENERATION - SETTINGS}
    return GenerationParams(**values).with_implied_sampling()
