"""The configs of calls, made from the settings that an agent framework passes with each call."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from pydantic_core import to_json

from asyncinfer.config import GenerationParams, InferenceConfig, ModelParams, RemoteParams
from asyncinfer.dialects.openai.request_reader import SETTINGS, generation_of
from asyncinfer.errors import ConfigError

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
# As many as an engine keeps prepared.
_MOST_KEPT = 16


class CallConfigs:
    """Makes the configs of calls, and keeps those that were used last.

    An engine prepares each config object once. Therefore calls with equal settings get the same object. Safe to use
    from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, str], InferenceConfig] = OrderedDict()

    def find(self, settings: Mapping[str, Any]) -> InferenceConfig | None:
        """Return the config that sets these settings, and nothing else; None if there are none.

        Args:
            settings: By OpenAI's names (`max_tokens`, `stop`, `response_format`) or by those of `GenerationParams`;
                also `model`, `timeout` (seconds), `max_retries`, `headers`, `api_key` and `user`. None counts as
                missing.

        Raises:
            ConfigError: A setting is unknown or wrong.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if not given:
            return None
        key = _key_of(given)
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        config = _config_of(given)
        with self._lock:
            config = self._kept.setdefault(key, config)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return config


def _key_of(settings: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return what equal settings have in common. JSON would show every key as the same asterisks."""
    secret = settings.get("api_key")
    plain = secret.get_secret_value() if isinstance(secret, SecretStr) else str(secret or "")
    others = {name: settings[name] for name in sorted(settings) if name != "api_key"}
    return to_json(others, serialize_unknown=True), plain


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
    if values.get("temperature"):
        # Transformers samples only with this setting. Other engines decide by the temperature.
        values.setdefault("use_sampling", True)
    return GenerationParams(**values)
