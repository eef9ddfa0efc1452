"""Authorises requests to Google's APIs: Gemini with a key, Vertex with the tokens of a Google Cloud account.

Sources, November 2026: google-auth 2.63, which renews tokens 225 s before they expire; google-genai 3.6, which sends a
key as `x-goog-api-key`, and uses Bearer only for OAuth tokens; Google's page "OpenAI compatibility", which sends the
key as Bearer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import RemoteParams
from asyncinfer.errors import EngineConfigError, ErrorScope, InferenceErrorType, MissingDependencyError, RequestError
from asyncinfer.providers.auth import HeaderSigner, Key, Signer, environment_variable
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import MaskedStr

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_ADC = "GOOGLE_APPLICATION_CREDENTIALS"
# A token is renewed this many seconds before it expires, or after half of its lifetime if that is later.
_MARGIN = 225.0


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

    An explicit key is an access token, or the path of a credentials file if it ends with `.json`. Without a key, tokens
    come from the application default credentials.
    """

    variable: str | None = None

    @property
    def needs(self) -> str:
        return "Google Cloud credentials"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        given = MaskedStr(remote.api_key.get_secret_value().strip()) if remote.api_key is not None else None
        if given is not None and given.endswith(".json"):
            return _TokenSigner(name, _account(given, None))
        if given is not None or remote.api_key_env_varname:
            return Key().signer(name, remote, environ)
        return _TokenSigner(name, _account(None, environment_variable(environ, _ADC) or None))


class _TokenSigner:
    """Adds a valid token. If the token must be renewed, one row renews it in a worker thread, and the others wait."""

    def __init__(self, name: str, account: _Account) -> None:
        _require()
        self._name, self._account = name, account

    @property
    def secrets(self) -> tuple[str, ...]:
        token = self._account.token
        return (token,) if token else ()

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        if not self._account.has_valid_token():
            async with self._account.renewal_lock():
                await ROWS.run(self._account.renew, self._name, abandon_on_cancel=True)
        return await HeaderSigner({"Authorization": MaskedStr(f"Bearer {self._account.token}")}, ())(request)


class _Account:
    """Credentials and their current token. Several event loops may share an account.

    Args:
        file: A file with the key of a service account. None: google-auth finds the credentials.
    """

    def __init__(self, file: str | None) -> None:
        self.token: str | None = None
        self._file, self._credentials, self._valid_until = file, None, 0.0
        self._lock, self._renewal_locks_lock = threading.Lock(), threading.Lock()
        self._renewal_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def has_valid_token(self) -> bool:
        return time.monotonic() < self._valid_until

    def renewal_lock(self) -> asyncio.Lock:
        """Return the lock of this event loop. The row that renews the token holds it. Waiting rows use no thread."""
        with self._renewal_locks_lock:
            return self._renewal_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def renew(self, name: str) -> None:
        """Get a token, unless another thread has got one in the meantime. Blocks.

        Raises:
            RequestError: Google gave no token.
            EngineConfigError: There are no credentials, or they are not valid.
        """
        with self._lock:
            if self.has_valid_token():
                return
            if self._credentials is None:
                self._credentials = _load(name, self._file)
            _refresh(self._credentials)
            self.token = MaskedStr(self._credentials.token)
            self._valid_until = time.monotonic() + _seconds_valid(self._credentials.expiry)


@cache
def _account(file: str | None, default: str | None) -> _Account:
    """Return the account. All engines of this process share it, so that a new engine or call needs no new token.

    Args:
        default: The credentials file that the environment names. Another one means another account.
    """
    return _Account(file)


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


def _seconds_valid(expiry: datetime | None) -> float:
    """How long a token may be used. `expiry` is when it expires, in UTC without a time zone, as google-auth has it."""
    if expiry is None:
        return float("inf")
    left = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    return max(left - _MARGIN, left / 2)


def vertex_url(url: str) -> str:
    """Correct the host of a URL for the locations `global`, `us` and `eu`. google-genai uses the same hosts."""
    region, dash, rest = url.removeprefix("https://").partition("-aiplatform.googleapis.com/")
    if not dash or region not in ("global", "us", "eu"):
        return url
    host = "aiplatform.googleapis.com" if region == "global" else f"aiplatform.{region}.rep.googleapis.com"
    return f"https://{host}/{rest}"
