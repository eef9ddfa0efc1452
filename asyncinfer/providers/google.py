"""How Google's APIs authorise: Gemini by a key, Vertex by the tokens of a Google Cloud account.

Written after google-auth 2.63 (its tokens are taken to end 225 s early), google-genai 3.6 (which sends a key as
`x-goog-api-key`, and Bearer only for OAuth tokens) and Google's "OpenAI compatibility" page, which sends the key as
Bearer; November 2026.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
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
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.errors import EngineConfigError, ErrorScope, InferenceErrorType, MissingDependencyError, RequestError
from asyncinfer.providers.auth import HeaderSigner, Key, Signer, variable_in
from asyncinfer.types.masking import MaskedStr

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_ADC = "GOOGLE_APPLICATION_CREDENTIALS"
# Seconds before its end at which a token is renewed; of a short one, after half of its time.
_MARGIN = 225.0


class GeminiKey:
    """Gemini's key: Bearer for the OpenAI-compatible endpoint, `x-goog-api-key` for Gemini's own methods, which
    stand behind a colon in the path.
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


class GoogleTokens:
    """Access tokens of a Google Cloud account: an explicit key is one, or the path of a credentials file (ending with
    .json); without one, they come from the application default credentials.
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
        return _TokenSigner(name, _account(None, variable_in(environ, _ADC) or None))


class _TokenSigner:
    """Adds a token that is good; of rows that wait for one, one renews it, in a thread."""

    def __init__(self, name: str, account: _Account) -> None:
        _require()
        self._name, self._account = name, account

    @property
    def secrets(self) -> tuple[str, ...]:
        token = self._account.token
        return (token,) if token else ()

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        if not self._account.is_good():
            async with self._account.turn():
                await ROWS.run(self._account.renew, self._name, abandon_on_cancel=True)
        return await HeaderSigner({"Authorization": MaskedStr(f"Bearer {self._account.token}")}, ())(request)


class _Account:
    """Credentials and their current token. `file`: a service account's key; None for wherever google-auth looks."""

    def __init__(self, file: str | None) -> None:
        self.token: str | None = None
        self._file, self._credentials, self._good_until = file, None, 0.0
        self._lock, self._lock_of_turns = threading.Lock(), threading.Lock()  # several event loops share an account
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def is_good(self) -> bool:
        return time.monotonic() < self._good_until

    def turn(self) -> asyncio.Lock:
        """Held by the one of this loop's rows that renews: waiting takes no thread."""
        with self._lock_of_turns:
            return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def renew(self, name: str) -> None:
        """Get a token, if none has come meanwhile. Blocks.

        Raises:
            RequestError: Google gave none. EngineConfigError: there are no credentials, or they are none.
        """
        with self._lock:
            if self.is_good():
                return
            if self._credentials is None:
                self._credentials = _load(name, self._file)
            _refresh(self._credentials)
            self.token = MaskedStr(self._credentials.token)
            self._good_until = time.monotonic() + _seconds_good(self._credentials.expiry)


@cache
def _account(file: str | None, default: str | None) -> _Account:
    """One for all engines of this process, so that a new engine, or call, needs no new token. `default`: the
    credentials that the environment names.
    """
    return _Account(file)


def _require() -> None:
    """Raise MissingDependencyError where google-auth, or what it sends its requests with, is not installed."""
    for module, package in (("google", "google-auth"), ("google.auth", "google-auth"), ("requests", "requests")):
        if find_spec(module) is None:
            raise MissingDependencyError(package, "vertex")


def _load(name: str, file: str | None) -> Any:
    """The credentials, of whichever kind."""
    auth: Any = import_module("google.auth")
    service: Any = import_module("google.oauth2.service_account")
    try:
        if file is not None:
            return service.Credentials.from_service_account_file(str(Path(file).expanduser()), scopes=_SCOPES)
        return auth.default(scopes=_SCOPES)[0]
    except (auth.exceptions.GoogleAuthError, ValueError, OSError, RuntimeError) as error:
        why = str(error)
    raise EngineConfigError(  # Outside `except`: the context would keep google-auth's frames, which hold credentials.
        f"{name} needs Google Cloud credentials ({why}); set the environment variable {_ADC} to a credentials "
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
        passing = lost or bool(error.retryable)
        failure = RequestError(
            f"Google gave no access token: {error.args[0] if error.args else error}",
            error_type=InferenceErrorType.CONNECTION if lost else InferenceErrorType.API_STATUS,
            is_retryable=passing,
            scope=ErrorScope.UNKNOWN if passing else ErrorScope.ACCOUNT,
        )
    else:
        return
    raise failure  # Outside `except`: the context would keep google-auth's frames, which hold credentials.


def _seconds_good(expiry: datetime | None) -> float:
    """How long a token may be used that ends then; google-auth tells it in UTC, without saying so."""
    if expiry is None:
        return float("inf")
    left = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    return max(left - _MARGIN, left / 2)


def vertex_url(url: str) -> str:
    """Where Vertex is in a region; those that are more than one have hosts of another form, as google-genai knows."""
    region, dash, rest = url.removeprefix("https://").partition("-aiplatform.googleapis.com/")
    if not dash or region not in ("global", "us", "eu"):
        return url
    host = "aiplatform.googleapis.com" if region == "global" else f"aiplatform.{region}.rep.googleapis.com"
    return f"https://{host}/{rest}"
