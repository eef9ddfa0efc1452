"""How requests are authorised, and where the keys come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from asyncinfer.config import RemoteParams
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.errors import ConfigError


class Signer(Protocol):
    """Authorises the requests of one call. `secrets`: what no message may repeat."""

    @property
    def secrets(self) -> tuple[str, ...]: ...

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        """The request, authorised.

        Raises:
            RequestError: that cannot be done now. EngineConfigError: nor ever.
        """
        ...


class Auth(Protocol):
    """A way to authorise. `variable`: the environment variable that holds the key, where there is one key."""

    @property
    def variable(self) -> str | None: ...

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] = os.environ) -> Signer:
        """For the requests of a call to the provider of that name; reads no file, asks no server.

        Raises:
            ConfigError: a key is needed, and there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """A key in a header: the explicit one, or that of the environment variable; without one, it is sent only if
    the user sets it.
    """

    variable: str | None = None
    header: str = "Authorization"
    scheme: str = "Bearer "

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] = os.environ) -> Signer:
        if remote.api_key is not None:
            return self._with(remote.api_key.get_secret_value().strip())
        variable = remote.api_key_env_varname or self.variable
        if variable is None:
            return HeaderSigner({}, ())
        key = environ.get(variable, "").strip()
        if not key:
            raise ConfigError(
                f"remote_params.api_key: {name} needs an API key; set the environment variable {variable}"
            )
        return self._with(key)

    def _with(self, key: str) -> Signer:
        return HeaderSigner({self.header: f"{self.scheme}{key}"}, (key,))


@dataclass(frozen=True, slots=True)
class HeaderSigner:
    """Adds the same headers to each request."""

    headers: Mapping[str, str]
    secrets: tuple[str, ...]

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        return request._replace(headers={**request.headers, **self.headers})
