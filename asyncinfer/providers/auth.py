"""How requests are authorised, and where the keys come from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from asyncinfer.config import RemoteParams
from asyncinfer.errors import ConfigError
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import MaskedStr, is_secret_name


class Signer(Protocol):
    """Authorises the requests of one call.

    Attributes:
        secrets: The texts that no message may contain.
    """

    @property
    def secrets(self) -> tuple[str, ...]: ...

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        """Return the request with the headers that authorise it.

        Raises:
            RequestError: The credentials are not available at the moment.
            EngineConfigError: There are no usable credentials. A retry does not help.
        """
        ...


class Auth(Protocol):
    """A way to authorise requests.

    Attributes:
        variable: The environment variable that holds the key; None if there is not exactly one.
    """

    @property
    def variable(self) -> str | None: ...

    @property
    def needs(self) -> str:
        """The credentials that the user needs, in Markdown. Empty if none are needed."""
        ...

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        """Return the signer of one call. Reads no file and sends no request.

        Args:
            name: The name of the provider, for messages.
            environ: The environment variables; those of this process by default.

        Raises:
            ConfigError: A key is needed, and none is set.
            MissingDependencyError: A package is needed, and it is not installed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """A key in a header. `remote_params.api_key` takes precedence over environment variables.

    Args:
        variable: The environment variable that holds the key. None: the API needs no key, and a key is sent only if
            the user sets one.
        header: The name of the header.
        scheme: The text before the key in the header.
    """

    variable: str | None = None
    header: str = "Authorization"
    scheme: str = "Bearer "

    @property
    def needs(self) -> str:
        return f"`{self.variable}`" if self.variable else ""

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        if given := given_key(remote):
            return self.signer_with(given)
        variable = remote.api_key_env_varname or self.variable
        if variable is None:
            return HeaderSigner({}, ())
        key = MaskedStr(environment_variable(environ, variable).strip())
        if not key and has_own_credential(remote):
            return HeaderSigner({}, ())
        if not key:
            raise ConfigError(
                f"remote_params.api_key: {name} needs an API key; set the environment variable {variable}"
            )
        return self.signer_with(key)

    def signer_with(self, key: str) -> Signer:
        """Return the signer that sends this key."""
        return HeaderSigner({self.header: MaskedStr(f"{self.scheme}{key}")}, (MaskedStr(key),))


@dataclass(frozen=True, slots=True)
class OptionalKey:
    """A key as Bearer, for a server that may need one. If no key is set, requests are sent without one.

    `remote_params.api_key` takes precedence over the environment variable. The variable is not read if
    `remote_params.headers` already has a credential.

    Args:
        source: The environment variable that may hold the key.
    """

    source: str

    @property
    def variable(self) -> str | None:
        return None

    @property
    def needs(self) -> str:
        return ""

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        is_set = environment_variable(environ, self.source).strip() and not has_own_credential(remote)
        return Key(self.source if is_set else None).signer(name, remote, environ)


def given_key(remote: RemoteParams) -> MaskedStr | None:
    """Return `remote_params.api_key` without white space around it; None if it is not set."""
    return MaskedStr(remote.api_key.get_secret_value().strip()) if remote.api_key is not None else None


def has_own_credential(remote: RemoteParams) -> bool:
    """Whether one of the user's headers authorises the requests."""
    return any(map(is_secret_name, remote.headers))


def environment_variable(environ: Mapping[str, str] | None, name: str) -> str:
    """Return an environment variable; empty text if it is not set. `environ` is that of this process by default.

    `os.environ` is never a default argument or a local variable: signatures and tracebacks would show all of it.
    """
    return (os.environ if environ is None else environ).get(name, "")


class HeaderSigner:
    """Adds the same headers to each request."""

    def __init__(self, headers: Mapping[str, str], secrets: tuple[str, ...]) -> None:
        self.secrets = secrets
        self._headers = headers
        # The requests of one call share one mapping of headers. The signed requests then share one too, so that a
        # cache by identity works for them.
        self._last: tuple[Mapping[str, str], Mapping[str, str]] = ({}, headers)

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        before, after = self._last
        if request.headers is not before:
            self._last = before, after = request.headers, {**request.headers, **self._headers}
        return HttpRequest(request.url, after, request.body, request.method, request.timeout, request.limits)
