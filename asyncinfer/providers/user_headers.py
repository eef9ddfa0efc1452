"""Adds the headers of the user (`remote_params.headers`) to the requests of a call."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from asyncinfer.providers.auth import Signer
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import MaskedStr, secrets_in_header

# Headers that this package sets, as it spells them. With the same spelling, the user's replace them.
_SPELLING = {
    name.lower(): name
    for name in ("Accept", "Accept-Encoding", "Authorization", "Content-Type", "Proxy-Authorization", "User-Agent")
}


def with_user_headers(signer: Signer, headers: Mapping[str, SecretStr]) -> Signer:
    """The signer, which also adds `headers`; the signer itself without `headers`."""
    return UserHeadersSigner(signer, headers) if headers else signer


class UserHeadersSigner:
    """Adds headers to each request. They replace headers of the same name, in any case, also those of the signer."""

    def __init__(self, signer: Signer, headers: Mapping[str, SecretStr]) -> None:
        added = {
            _SPELLING.get(name.lower(), name): MaskedStr(value.get_secret_value()) for name, value in headers.items()
        }
        self._signer = signer
        self._before, self._after = _Headers(added), _Headers(added)
        found = (secret for name, value in added.items() for secret in secrets_in_header(name, value))
        self._secrets = tuple(map(MaskedStr, found))

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self._signer.secrets, *self._secrets)

    async def __call__(self, request: HttpRequest) -> HttpRequest:
        # They are added before, so that a signature covers them, and after, so that they replace the signer's headers.
        signed = await self._signer(request._replace(headers=self._before.added_to(request.headers)))
        return signed._replace(headers=self._after.added_to(signed.headers))


class _Headers:
    """Adds the same headers to each mapping of headers.

    The requests of one call share one mapping of headers. The results then share one too, so that a cache by identity
    works for them.
    """

    def __init__(self, added: Mapping[str, str]) -> None:
        self._added = added
        self._names = frozenset(name.lower() for name in added)
        self._last: tuple[Mapping[str, str], Mapping[str, str]] = ({}, added)

    def added_to(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        before, after = self._last
        if headers is not before:
            kept = {name: value for name, value in headers.items() if name.lower() not in self._names}
            after = kept | dict(self._added)
            self._last = headers, after
        return after
