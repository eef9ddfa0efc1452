"""The key that a request carries, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping

from asyncinfer.config import RemoteParams
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import Provider


def bearer(provider: Provider, remote: RemoteParams, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The `Authorization` header: the explicit key, or that of the environment variable; none where none is needed.

    Raises:
        ConfigError: a key is needed, and there is none.
    """
    if remote.api_key is not None:
        return {"Authorization": f"Bearer {remote.api_key.get_secret_value().strip()}"}
    variable = remote.api_key_env_varname or provider.key_variable
    if variable is None:
        return {}
    key = environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"remote_params.api_key: {provider.name.name} needs an API key; set the environment variable {variable}"
        )
    return {"Authorization": f"Bearer {key}"}
