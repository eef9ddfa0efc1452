"""Authorises requests to AWS, with an API key or with signatures (SigV4).

botocore finds the credentials and signs the requests. It sends no requests itself, except to renew credentials.

Sources, November 2026: botocore 1.44 (`auth.SigV4Auth`, `credentials`, `tokens`) and "API keys" in the user guide of
Bedrock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import anyio

from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import RemoteParams
from asyncinfer.dialects.bedrock.hosts import region_in
from asyncinfer.errors import EngineConfigError, InferenceErrorType, MissingDependencyError, RequestError
from asyncinfer.providers.auth import Key, Signer, environment_variable
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import MASK, MaskedStr, mask_headers

# Seconds for which loaded credentials are used before botocore is called again. botocore renews credentials 15 minutes
# before they expire, but only when it is called. Another program may also have renewed the files that it reads.
_RELOAD_SECONDS = 60.0
# Bodies with more bytes are signed in a worker thread.
_LARGE_BODY = 2**18
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Aws:
    """Authorises requests to a service of AWS. With an API key, requests are not signed, and botocore is not needed.

    Args:
        service: The name of the service in signatures.
        token_variable: The environment variable that may hold an API key.
    """

    service: str
    token_variable: str
    variable: str | None = None

    @property
    def needs(self) -> str:
        return f"AWS credentials, or `{self.token_variable}`"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        has_key = remote.api_key is not None or remote.api_key_env_varname
        if has_key or environment_variable(environ, self.token_variable).strip():
            return Key(self.token_variable).signer(name, remote, environ)
        return _sigv4_signer(self, name, environ)


@dataclass(frozen=True, slots=True)
class S3Auth:
    """Signs requests to S3. An API key of Bedrock is not sent there.

    The bodies of requests are not signed, because they are sent from files. TLS protects them.
    """

    service: str = "s3"
    token_variable: str = ""
    variable: str | None = None

    @property
    def needs(self) -> str:
        return "AWS credentials"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        return _sigv4_signer(self, name, environ)


def _sigv4_signer(auth: Aws | S3Auth, name: str, environ: Mapping[str, str] | None) -> SigV4Signer:
    if find_spec("botocore") is None:
        raise MissingDependencyError("botocore", "bedrock")
    region = next((value for value in (environment_variable(environ, key) for key in _REGIONS) if value), None)
    return SigV4Signer(auth, name, region, _credential_chain(_settings(environ)))


def _settings(environ: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return the environment variables that botocore reads, sorted. Their values are masked in reprs."""
    items = (os.environ if environ is None else environ).items()
    return tuple(sorted((key, MaskedStr(value)) for key, value in items if key.startswith("AWS_") or key in _HOMES))


_HOMES = frozenset({"HOME", "USERPROFILE"})


class LoadedCredentials(NamedTuple):
    """Credentials as botocore returned them.

    Args:
        region: The region in the same profile; None if it has none.
        fresh_until: When botocore is called again (Unix time).
    """

    credentials: Any
    region: str | None
    fresh_until: float

    def __repr__(self) -> str:
        return f"LoadedCredentials(credentials={MASK}, region={self.region!r})"


class SigV4Signer:
    """Signs each request. Credentials are loaded and renewed in a worker thread."""

    def __init__(self, auth: Aws | S3Auth, name: str, region: str | None, chain: CredentialChain) -> None:
        self._auth, self._name, self._region, self._chain = auth, name, region, chain
        self._load_lock = anyio.Lock()

    @property
    def secrets(self) -> tuple[str, ...]:
        loaded = self._chain.loaded
        found = () if loaded is None else (loaded.credentials.secret_key, loaded.credentials.token)
        return tuple(MaskedStr(secret) for secret in found if secret)

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        loaded = await self._credentials()
        region = region_in(request.url) or self._region or loaded.region
        if region is None:
            raise self._config_error("no AWS region is known; set the environment variable AWS_REGION")
        if len(request.body) > _LARGE_BODY:
            return await ROWS.run(_signed, request, loaded, self._auth, region)
        return _signed(request, loaded, self._auth, region)

    async def _credentials(self) -> LoadedCredentials:
        """Return credentials. While one row renews them, the other rows use the present ones."""
        loaded = self._chain.loaded
        if loaded is not None and (time.time() < loaded.fresh_until or self._load_lock.locked()):
            return loaded
        async with self._load_lock:
            if (loaded := self._chain.fresh()) is None:
                loaded = await ROWS.run(self._load, abandon_on_cancel=True)
        return loaded

    def _load(self) -> LoadedCredentials:
        errors = _botocore().errors
        try:
            loaded = self._chain.load(self._region)
        except (errors.BotoCoreError, errors.ClientError, RuntimeError) as error:
            failure = self._failure(error)
        else:
            if loaded is not None:
                return loaded
            key = f", or an API key in {self._auth.token_variable}" if self._auth.token_variable else ""
            failure = self._config_error(
                f"no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE{key}"
            )
        raise failure  # Outside `except`: the context would keep botocore's frames, which hold credentials.

    def _failure(self, error: Exception) -> RequestError | EngineConfigError:
        worked_before = self._chain.loaded is not None
        if _is_temporary(error) or (worked_before and isinstance(error, _botocore().errors.CredentialRetrievalError)):
            message = f"AWS credentials cannot be loaded at the moment: {error}"
            return RequestError(message, error_type=InferenceErrorType.CONNECTION, is_retryable=True)
        return self._config_error(f"AWS credentials cannot be loaded: {error}")

    def _config_error(self, message: str) -> EngineConfigError:
        return EngineConfigError(f"{self._name}: {message}", error_type=InferenceErrorType.CONFIG)


class CredentialChain:
    """The credentials that botocore finds in one environment. All signers share it, from any thread.

    Attributes:
        loaded: The credentials that were loaded last; None before the first time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._source: Any = None
        self.loaded: LoadedCredentials | None = None

    def fresh(self) -> LoadedCredentials | None:
        """Return the loaded credentials; None if botocore must be called first."""
        loaded = self.loaded
        return loaded if loaded is not None and time.time() < loaded.fresh_until else None

    def load(self, region: str | None) -> LoadedCredentials | None:
        """Find or renew the credentials. None if they are not found. Blocks, and may send requests.

        Raises:
            BotoCoreError, ClientError, RuntimeError: botocore could not load the credentials.
        """
        with self._lock:
            if (loaded := self.fresh()) is not None:
                return loaded
            session = _botocore().Session()
            if region is not None:
                session.set_config_variable("region", region)
            # Credentials that cannot renew themselves are read again.
            if not hasattr(self._source, "refresh_needed"):
                self._source = session.get_credentials()
            if self._source is None:
                return None
            region = session.get_config_variable("region")
            fresh_until = time.time() + _RELOAD_SECONDS
            self.loaded = LoadedCredentials(self._source.get_frozen_credentials(), region, fresh_until)
            return self.loaded


@lru_cache(maxsize=8)
def _credential_chain(environ: tuple[tuple[str, str], ...]) -> CredentialChain:
    """Return the one chain of this environment."""
    return CredentialChain()


class _Botocore(NamedTuple):
    """The parts of botocore that are used here. botocore has no type annotations."""

    Session: Any
    SigV4Auth: Any
    S3SigV4Auth: Any
    AWSRequest: Any
    errors: Any


@cache
def _botocore() -> _Botocore:
    """Load botocore. The import blocks, so the first call is in a worker thread."""
    return _Botocore(
        import_module("botocore.session").Session,
        import_module("botocore.auth").SigV4Auth,
        import_module("botocore.auth").S3SigV4Auth,
        import_module("botocore.awsrequest").AWSRequest,
        import_module("botocore.exceptions"),
    )


def _signed(request: HttpRequest, loaded: LoadedCredentials, auth: Aws | S3Auth, region: str) -> HttpRequest:
    aws = _botocore()
    signed = aws.AWSRequest(method=request.method, url=request.url, data=request.body, headers=dict(request.headers))
    if isinstance(auth, S3Auth):
        sigv4 = aws.S3SigV4Auth(loaded.credentials, auth.service, region)
        sigv4.payload = _unsigned_payload
    else:
        sigv4 = aws.SigV4Auth(loaded.credentials, auth.service, region)
    sigv4.add_auth(signed)
    return request._replace(headers=mask_headers(signed.headers))


def _unsigned_payload(request: Any) -> str:
    return "UNSIGNED-PAYLOAD"


def _is_temporary(error: Any) -> bool:
    """Whether the credentials may be loaded by another attempt."""
    errors = _botocore().errors
    if isinstance(error, errors.ClientError):
        response: dict[str, Any] = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or "Throttl" in str(response.get("Error", {}).get("Code"))
    return isinstance(error, (errors.ConnectionError, errors.HTTPClientError, errors.MetadataRetrievalError))
