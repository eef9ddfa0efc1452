"""Azure OpenAI: its URLs, and requests that are authorised with a key or with Microsoft Entra ID.

Sources, November 2026: Microsoft's "Azure OpenAI in Microsoft Foundry Models v1 API", "API version lifecycle", "Use the
Azure OpenAI Responses API" and "Content filtering"; openai-python 3.57 (`AzureOpenAI`), for the environment variables,
the header of the key and the precedence of the token over the key; azure-identity 1.27.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from asyncinfer.config import RemoteParams
from asyncinfer.errors import (
    ConfigError,
    EngineConfigError,
    ErrorScope,
    InferenceErrorType,
    MissingDependencyError,
    RequestError,
)
from asyncinfer.providers.auth import HeaderSigner, Key, Signer, environment_variable, given_key, has_own_credential
from asyncinfer.providers.tokens import Token, TokenSigner, TokenSource
from asyncinfer.types.masking import MaskedStr

_KEY, _TOKEN, _VERSION = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION"
# The path for chats, after the endpoint of a resource.
CHATS = "/openai/v1/chat/completions"
_OWN_PATH = re.compile(r"(?:/deployments/[^/]+)?/(?:chat/completions|responses)/?$")
_DEPLOYED_RESPONSES = re.compile(r"/deployments/[^/]+/responses/?$")
# A JSON Web Token, as Microsoft Entra ID issues it. Keys of Azure have no dots.
_JWT = re.compile(r"ey[\w-]+\.[\w-]+\.[\w-]*")
# The ends of hosts in national clouds, which have tokens for another audience.
_NATIONAL_CLOUDS = (".azure.us", ".azure.cn")


@dataclass(frozen=True, slots=True)
class AzureAuth:
    """A key in the header `api-key`, or a token of Microsoft Entra ID as Bearer.

    `remote_params.api_key` may be a key or a token. If it is not set, the environment variable `AZURE_OPENAI_AD_TOKEN`
    takes precedence over `AZURE_OPENAI_API_KEY`. If neither is set, azure-identity gets tokens
    (`DefaultAzureCredential`).
    """

    @property
    def variable(self) -> str | None:
        return None

    @property
    def needs(self) -> str:
        return f"`{_KEY}`, or Microsoft Entra ID"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        token = _token(remote, environ)
        if token:
            return Key().signer_with(token)
        if remote.api_key or remote.api_key_env_varname or environment_variable(environ, _KEY).strip():
            return Key(_KEY, "api-key", "").signer(name, remote, environ)
        if has_own_credential(remote):
            return HeaderSigner({}, ())
        _require(name)
        return TokenSigner(name, _account(_scope(remote.api_url or "")))


def _token(remote: RemoteParams, environ: Mapping[str, str] | None) -> str:
    """Return the token that the user gives; an empty text if the user gives no token, or a key instead."""
    given = given_key(remote)
    if given or remote.api_key_env_varname:
        return given if given and _JWT.fullmatch(given) else ""
    return MaskedStr(environment_variable(environ, _TOKEN).strip())


def _scope(url: str) -> str:
    """Return the scope of the tokens for the cloud of this URL."""
    host = urlsplit(url).hostname or ""
    cloud = next((end for end in _NATIONAL_CLOUDS if host.endswith(end)), ".azure.com")
    return f"https://cognitiveservices{cloud}/.default"


@cache
def _account(scope: str) -> TokenSource:
    """Return the account of this process. All engines share it, so that a new engine or call needs no new token."""
    return TokenSource(_Account(scope).get_token)


class _Account:
    """The account that azure-identity finds when the first token is needed."""

    def __init__(self, scope: str) -> None:
        self._scope, self._credential = scope, None
        self._has_worked = False

    def get_token(self, name: str) -> Token:
        azure: Any = import_module("azure.core.exceptions")
        try:
            if self._credential is None:
                self._credential = import_module("azure.identity").DefaultAzureCredential()
            token = self._credential.get_token(self._scope)
        except (azure.AzureError, ValueError) as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
        else:
            self._has_worked = True
            return Token(token.token, token.expires_on - time.time())
        raise self._failure(name, reason)  # Outside `except`: the context would keep frames that hold credentials.

    def _failure(self, name: str, reason: str) -> RequestError | EngineConfigError:
        """Return the error. azure-identity has the same errors for lost connections and missing accounts."""
        if self._has_worked:
            return RequestError(
                f"Microsoft Entra ID gave no access token: {reason}",
                error_type=InferenceErrorType.CONNECTION,
                is_retryable=True,
                scope=ErrorScope.UNKNOWN,
            )
        return EngineConfigError(
            f"{name} needs an API key or a Microsoft Entra ID account ({reason}); set the environment variable {_KEY}, "
            "or run `az login`",
            error_type=InferenceErrorType.CONFIG,
        )


def _require(name: str) -> None:
    """Raise MissingDependencyError if azure-identity is not installed."""
    if all(find_spec(module) is not None for module in ("azure", "azure.identity")):
        return
    missing = MissingDependencyError("azure-identity", "azure")
    missing.args = (f"{name} has no API key: set the environment variable {_KEY}. For Microsoft Entra ID, {missing}",)
    raise missing


def azure_url(url: str) -> str:
    """Return the URL for chats, from the endpoint of a resource followed by the path for chats.

    An endpoint that already has the path of the API, as Azure's portal shows it, is complete.
    """
    endpoint = url.removesuffix(CHATS)
    return endpoint if "/openai" in urlsplit(endpoint).path else endpoint.rstrip("/") + CHATS


def with_api_version(url: str) -> str:
    """Return the URL, with the version from the environment if it is the URL of a deployment without a version.

    The Responses API has one URL for all deployments of a resource.

    Raises:
        ConfigError: There is no version.
    """
    parts = urlsplit(url)
    if "/deployments/" not in parts.path:
        return url
    parts = parts._replace(path=_DEPLOYED_RESPONSES.sub("/responses", parts.path))
    if "api-version" in parse_qs(parts.query):
        return urlunsplit(parts)
    version = os.environ.get(_VERSION, "").strip()
    if not version:
        raise ConfigError(
            "remote_params.api_url: the URL of a deployment needs a version; add ?api-version=2024-10-21 to it, or set "
            f"the environment variable {_VERSION}"
        )
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=f"{query}api-version={quote(version)}"))


def azure_models_url(url: str) -> str:
    """Return the URL of the list of models. A resource has one list, even if `url` is the URL of a deployment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=_OWN_PATH.sub("", parts.path) + "/models"))
