"""How AWS authorises: an API key of Bedrock's, or signatures (SigV4) by the credentials that botocore finds.

Written after botocore 1.44 (`auth.SigV4Auth`, `credentials`, `tokens`) and the Bedrock user guide's "API keys",
November 2026. Retries stay ours: botocore finds credentials and signs, and sends no request but those that renew them.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio

from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import RemoteParams
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.errors import EngineConfigError, InferenceErrorType, MissingDependencyError, RequestError
from asyncinfer.providers.auth import Key, Signer, variable_in
from asyncinfer.types.masking import MASK, MaskedStr, mask_headers

# botocore renews credentials a quarter of an hour before they end, if it is asked; others may have renewed its files.
_LOOK_AGAIN = 60.0
# A larger body is hashed in a thread.
_LARGE = 2**18
_REGION = re.compile(r"\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.(?:[a-z.]+\.)?(?:amazonaws\.com|api\.aws|on\.aws)")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Aws:
    """AWS, for a service as signatures name it. `token_variable`: where its API key may be; with one, explicit or
    there, nothing is signed, and botocore is not needed.
    """

    service: str
    token_variable: str
    variable: str | None = None

    @property
    def needs(self) -> str:
        return f"AWS credentials, or `{self.token_variable}`"

    def signer(self, name: str, remote: RemoteParams, environ: Mapping[str, str] | None = None) -> Signer:
        named = remote.api_key is not None or remote.api_key_env_varname
        if named or variable_in(environ, self.token_variable).strip():
            return Key(self.token_variable).signer(name, remote, environ)
        if find_spec("botocore") is None:
            raise MissingDependencyError("botocore", "bedrock")
        region = next((value for value in (variable_in(environ, key) for key in _REGIONS) if value), None)
        return SigV4Signer(self, name, region, _chain(_settings(environ)))


def _settings(environ: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The environment variables that botocore reads, sorted. Their values are masked in reprs."""
    items = (os.environ if environ is None else environ).items()
    return tuple(sorted((key, MaskedStr(value)) for key, value in items if key.startswith("AWS_") or key in _HOMES))


_HOMES = frozenset({"HOME", "USERPROFILE"})


class Held(NamedTuple):
    """Credentials, the region that goes with them, and until when they need not be looked after."""

    credentials: Any
    region: str | None
    until: float

    def __repr__(self) -> str:
        return f"Held(credentials={MASK}, region={self.region!r})"


class SigV4Signer:
    """Signs each request. Credentials are looked for, and renewed, in a worker thread."""

    def __init__(self, auth: Aws, name: str, region: str | None, chain: Chain) -> None:
        self._auth, self._name, self._region, self._chain = auth, name, region, chain
        self._looking = anyio.Lock()

    @property
    def secrets(self) -> tuple[str, ...]:
        held = self._chain.held
        found = () if held is None else (held.credentials.secret_key, held.credentials.token)
        return tuple(MaskedStr(secret) for secret in found if secret)

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        held = await self._credentials()
        region = _region_in(request.url) or self._region or held.region
        if region is None:
            raise self._never("no AWS region is known; set the environment variable AWS_REGION")
        if len(request.body) > _LARGE:
            return await ROWS.run(_signed, request, held, self._auth.service, region)
        return _signed(request, held, self._auth.service, region)

    async def _credentials(self) -> Held:
        """What to sign with. While one row looks after it, the others go on with what there is."""
        held = self._chain.held
        if held is not None and (time.time() < held.until or self._looking.locked()):
            return held
        async with self._looking:
            if (held := self._chain.current()) is None:
                held = await ROWS.run(self._look, abandon_on_cancel=True)
        return held

    def _look(self) -> Held:
        errors = _botocore().errors
        try:
            held = self._chain.look(self._region)
        except (errors.BotoCoreError, errors.ClientError, RuntimeError) as error:
            failure = self._failure(error)
        else:
            if held is not None:
                return held
            failure = self._never(
                "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or an"
                f" API key in {self._auth.token_variable}"
            )
        raise failure  # Outside `except`: the context would keep botocore's frames, which hold credentials.

    def _failure(self, error: Exception) -> RequestError | EngineConfigError:
        if _may_pass(error) or (self._chain.held and isinstance(error, _botocore().errors.CredentialRetrievalError)):
            what = f"AWS credentials cannot be loaded at the moment: {error}"
            return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=True)
        return self._never(f"AWS credentials cannot be loaded: {error}")

    def _never(self, why: str) -> EngineConfigError:
        return EngineConfigError(f"{self._name}: {why}", error_type=InferenceErrorType.CONFIG)


class Chain:
    """The credentials that botocore finds in one environment. Shared by all signers there, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None
        self.held: Held | None = None

    def current(self) -> Held | None:
        """What is held, if it need not be looked after."""
        held = self.held
        return held if held is not None and time.time() < held.until else None

    def look(self, region: str | None) -> Held | None:
        """Find, or renew, the credentials; None if there are none. Blocks, and may ask a server.

        Raises:
            botocore's errors, or RuntimeError: that failed.
        """
        with self._lock:
            if (held := self.current()) is not None:
                return held
            session = _botocore().Session()
            if region is not None:
                session.set_config_variable("region", region)
            # What cannot renew itself is read again.
            if not hasattr(self._found, "refresh_needed"):
                self._found = session.get_credentials()
            if self._found is None:
                return None
            region = session.get_config_variable("region")
            self.held = Held(self._found.get_frozen_credentials(), region, time.time() + _LOOK_AGAIN)
            return self.held


@lru_cache(maxsize=8)
def _chain(environ: tuple[tuple[str, str], ...]) -> Chain:
    """The one chain of this environment."""
    return Chain()


class _Botocore(NamedTuple):
    """What is taken from botocore, which has no types."""

    Session: Any
    SigV4Auth: Any
    AWSRequest: Any
    errors: Any


@cache
def _botocore() -> _Botocore:
    """Loads it, and so is first called off the loop."""
    return _Botocore(
        import_module("botocore.session").Session,
        import_module("botocore.auth").SigV4Auth,
        import_module("botocore.awsrequest").AWSRequest,
        import_module("botocore.exceptions"),
    )


def _signed(request: HttpRequest, held: Held, service: str, region: str) -> HttpRequest:
    aws = _botocore()
    made = aws.AWSRequest(method=request.method, url=request.url, data=request.body, headers=dict(request.headers))
    aws.SigV4Auth(held.credentials, service, region).add_auth(made)
    return request._replace(headers=mask_headers(made.headers))


def _region_in(url: str) -> str | None:
    """The region that a host of AWS's is in."""
    found = _REGION.search(urlsplit(url).hostname or "")
    return found.group(1) if found else None


def _may_pass(error: Any) -> bool:
    """Whether looking for the credentials again may help."""
    errors = _botocore().errors
    if isinstance(error, errors.ClientError):
        response: dict[str, Any] = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or "Throttl" in str(response.get("Error", {}).get("Code"))
    return isinstance(error, (errors.ConnectionError, errors.HTTPClientError, errors.MetadataRetrievalError))
