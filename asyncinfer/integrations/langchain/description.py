"""The description of an engine in a serialised chat model, without secrets.

Source: `langchain_core.load` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import SecretStr
from pydantic_core import PydanticSerializationError

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.registry import build_engine, engine_class
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.types.masking import masked_places

# The name of the secret if no single environment variable holds the provider's key.
_SECRET = "ASYNCINFER_API_KEY"


def engine_to_dict(engine: BaseInferenceEngine) -> dict[str, Any] | None:
    """Return the configuration of an engine as JSON, without its API key.

    Returns:
        None if no equal engine can be built from JSON: the engine has a session, headers or a URL with secrets, or a
        class or provider that is not registered by name.
    """
    try:
        spec = engine.spec
        if engine_class(spec.engine) is not type(engine):
            return None
        data = spec.config.model_dump(mode="json", exclude_unset=True, exclude={"remote_params": {"api_key"}})
    except (ConfigError, PydanticSerializationError):
        return None
    return data if not any(masked_places(data)) else None


def engine_from_dict(given: object) -> object:
    """Return the engine that `engine_to_dict` has described. Anything but a mapping is returned as it is.

    Raises:
        ConfigError: The description is wrong.
    """
    if not isinstance(given, Mapping):
        return given
    return build_engine(InferenceConfig(**cast(dict[str, Any], given)))


def explicit_key(engine: BaseInferenceEngine) -> SecretStr | None:
    """Return the API key that was passed to the engine; None if the engine reads it from the environment."""
    return engine.settings.remote.api_key


def secret_name(engine: BaseInferenceEngine) -> str:
    """Return the name of the secret with the engine's API key: the name of the key's environment variable."""
    named = engine.settings.remote.api_key_env_varname
    if named is None and isinstance(engine, RemoteInferenceEngine):
        named = engine.provider().auth.variable
    return named or _SECRET
