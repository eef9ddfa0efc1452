"""How requests are authorised, and where the keys come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from asyncinfer.config import RemoteParams
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.errors import ConfigError
from asyncinfer.types.masking import MaskedStr, is_secret_name


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

    @property
    def needs(self) -> str:
        """What the user must have, in Markdown; empty for nothing."""
        ...

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        """A signer for requests to the provider of that name. Reads no file and sends no request.

        Args:
            environ: The environment variables; those of this process by default.

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

    @property
    def needs(self) -> str:
        return f"`{self.variable}`" if self.variable else ""

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        if remote.api_key is not None and (given := MaskedStr(remote.api_key.get_secret_value().strip())):
            return self._with(given)
        variable = remote.api_key_env_varname or self.variable
        if variable is None:
            return HeaderSigner({}, ())
        key = MaskedStr(variable_in(environ, variable).strip())
        if not key and any(map(is_secret_name, remote.headers)):
            return HeaderSigner({}, ())  # The user's headers authorise the requests.
        if not key:
            raise ConfigError(
                f"remote_params.api_key: {name} needs an API key; set the environment variable {variable}"
            )
        return self._with(key)

    def _with(self, key: str) -> Signer:
        return HeaderSigner({self.header: MaskedStr(f"{self.scheme}{key}")}, (MaskedStr(key),))


def variable_in(environ: Mapping[str, str] | None, name: str) -> str:
    """An environment variable; empty if it is not set. By default, of this process.

    `os.environ` is never a default argument or a local variable: signatures and tracebacks would show all of it.
    """
    return (os.environ if environ is None else environ).get(name, "")


class HeaderSigner:
    """Adds the same headers to each request."""

    def __init__(self, headers: Mapping[str, str], secrets: tuple[str, ...]) -> None:
        self.secrets = secrets
        self._headers = headers
        # Requests of one call have the same headers, and keep being alike for those who know them by identity.
        self._last: tuple[Mapping[str, str], Mapping[str, str]] = ({}, headers)

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        before, after = self._last
        if request.headers is not before:
            self._last = before, after = request.headers, {**request.headers, **self._headers}
        return HttpRequest(request.url, after, request.body, request.method, request.timeout, request.limits)
