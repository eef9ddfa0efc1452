"""Authorises requests to Google's APIs: Gemini with a key, Vertex with the tokens of a Google Cloud account.

Sources, November 2026: google-auth 2.63, which renews tokens 225 s before they expire; google-genai 3.6, which sends a
key as `x-goog-api-key`, and uses Bearer only for OAuth tokens; Google's page "OpenAI compatibility", which sends the
key as Bearer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from asyncinfer.config import RemoteParams
from asyncinfer.errors import EngineConfigError, ErrorScope, InferenceErrorType, MissingDependencyError, RequestError
from asyncinfer.providers.auth import Key, Signer, environment_variable, given_key
from asyncinfer.providers.tokens import Token, TokenSigner, TokenSource
from asyncinfer.types.http import HttpRequest

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_ADC = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True, slots=True)
class GeminiKey:
    """The key of Gemini. The OpenAI-compatible endpoint gets it as Bearer. Gemini's own methods, whose names follow a
    colon in the path, get it as `x-goog-api-key`.
    """

    variable: str | None = "GEMINI_API_KEY"

    @property
    def needs(self) -> str:
        return f"`{self.variable}`"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        return _GeminiSigner(
            Key(self.variable).signer(name, remote, environ),
            Key(self.variable, "x-goog-api-key", "").signer(name, remote, environ),
        )


class _GeminiSigner(NamedTuple):
    compatible: Signer
    native: Signer

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.compatible.secrets

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        native = ":" in urlsplit(request.url).path.rpartition("/")[2]
        return await (self.native if native else self.compatible)(request)


@dataclass(frozen=True, slots=True)
class GoogleTokens:
    """Access tokens of a Google Cloud account.

    `remote_params.api_key` is an access token, or the path of a credentials file if it ends with `.json`. If it is not
    set, tokens come from the application default credentials.
    """

    variable: str | None = None

    @property
    def needs(self) -> str:
        return "Google Cloud credentials"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        given = given_key(remote)
        if given is not None and given.endswith(".json"):
            return _signer(name, given, None)
        if given is not None or remote.api_key_env_varname:
            return Key().signer(name, remote, environ)
        return _signer(name, None, environment_variable(environ, _ADC) or None)


class _Account:
    """Credentials of Google Cloud, which are loaded when the first token is needed.

    Args:
        file: A file with the key of a service account. None: google-auth finds the credentials.
    """

    def __init__(self, file: str | None) -> None:
        self._file, self._credentials = file, None

    def get_token(self, name: str) -> Token:
        if self._credentials is None:
            self._credentials = _load(name, self._file)
        _refresh(self._credentials)
        return Token(self._credentials.token, _seconds_left(self._credentials.expiry))


@cache
def _account(file: str | None, default: str | None) -> TokenSource:
    """Return the account. All engines of this process share it, so that a new engine or call needs no new token.

    Args:
        default: The credentials file that the environment names. Another one means another account.
    """
    return TokenSource(_Account(file).get_token)


def _signer(name: str, file: str | None, default: str | None) -> Signer:
    _require()
    return TokenSigner(name, _account(file, default))


def _require() -> None:
    """Raise MissingDependencyError if google-auth is not installed, or requests, with which it sends requests."""
    for module, package in (("google", "google-auth"), ("google.auth", "google-auth"), ("requests", "requests")):
        if find_spec(module) is None:
            raise MissingDependencyError(package, "vertex")


def _load(name: str, file: str | None) -> Any:
    """Load the credentials, of whichever kind. Blocks."""
    auth: Any = import_module("google.auth")
    service: Any = import_module("google.oauth2.service_account")
    try:
        if file is not None:
            return service.Credentials.from_service_account_file(str(Path(file).expanduser()), scopes=_SCOPES)
        return auth.default(scopes=_SCOPES)[0]
    except (auth.exceptions.GoogleAuthError, ValueError, OSError, RuntimeError) as error:
        reason = str(error)
    raise EngineConfigError(  # Outside `except`: the context would keep google-auth's frames, which hold credentials.
        f"{name} needs Google Cloud credentials ({reason}); set the environment variable {_ADC} to a credentials "
        "file, or run `gcloud auth application-default login`, or set remote_params.api_key to an access token",
        error_type=InferenceErrorType.CONFIG,
    )


def _refresh(credentials: Any) -> None:
    exceptions: Any = import_module("google.auth.exceptions")
    transport: Any = import_module("google.auth.transport.requests")
    try:
        credentials.refresh(transport.Request())
    except exceptions.GoogleAuthError as error:
        lost = isinstance(error, exceptions.TransportError)
        temporary = lost or bool(error.retryable)
        failure = RequestError(
            f"Google gave no access token: {error.args[0] if error.args else error}",
            error_type=InferenceErrorType.CONNECTION if lost else InferenceErrorType.API_STATUS,
            is_retryable=temporary,
            scope=ErrorScope.UNKNOWN if temporary else ErrorScope.ACCOUNT,
        )
    else:
        return
    raise failure  # Outside `except`: the context would keep google-auth's frames, which hold credentials.


def _seconds_left(expiry: datetime | None) -> float:
    """How long a token is valid. `expiry` is when it expires, in UTC without a time zone, as google-auth has it."""
    return float("inf") if expiry is None else (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()


def vertex_url(url: str) -> str:
    """Correct the host of a URL for the locations `global`, `us` and `eu`. google-genai uses the same hosts."""
    region, dash, rest = url.removeprefix("https://").partition("-aiplatform.googleapis.com/")
    if not dash or region not in ("global", "us", "eu"):
        return url
    host = "aiplatform.googleapis.com" if region == "global" else f"aiplatform.{region}.rep.googleapis.com"
    return f"https://{host}/{rest}"
