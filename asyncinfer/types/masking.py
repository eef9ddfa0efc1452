"""Masks secrets in reprs and URLs.

Keys are kept in masked text or bytes. They behave like plain ones, but their repr shows asterisks, also in the repr of
a container and in tracebacks. Whether a parameter of a URL or a header is secret is decided by its name: `api-key` is,
Azure's `api-version` is not.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit

E = TypeVar("E", bound=BaseException)

MASK = "**********"  # as pydantic's SecretStr shows itself
# A name with one of these words is the name of a secret: `api_key`, `X-Amz-Signature`, `accessToken`, `sig`.
_WORDS = frozenset(
    [
        *("key", "apikey", "token", "secret", "sig", "signature", "password", "passwd", "pwd", "passphrase", "auth"),
        *("authorization", "authentication", "credential", "credentials", "jwt", "bearer", "cookie"),
    ]
)
_NAMES = frozenset(["code", "session", "sas"])  # Secrets only if this is the whole name.
_ENDINGS = ("key", "token", "secret", "password", "signature", "credential")
# Secret options in `model_kwargs`, `extra_body` and others. `_WORDS` does not fit here: `pad_token` is not a secret.
_OPTIONS = frozenset(
    ["token", "hf_token", "auth_token", "access_token", "use_auth_token", "api_key", "apikey", "password", "secret"]
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&;#]+)=([^&;#]*)")
_USER = re.compile(r"(?:(?<=://)|^)[^/?#]*@")


class MaskedStr(str):
    """Text whose repr is asterisks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __getitem__(self, key: SupportsIndex | slice) -> MaskedStr:
        return MaskedStr(str(self)[key])  # Tools that shorten a repr slice the text first.


class MaskedBytes(bytes):
    """Bytes whose repr is asterisks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK.encode())

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> Any:
        return MaskedBytes(super().__getitem__(key)) if isinstance(key, slice) else super().__getitem__(key)


class MaskedUrl(MaskedStr):
    """A URL whose repr has asterisks in place of its secrets."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_url(self))


def is_secret_name(name: str) -> bool:
    """Whether a parameter or header of this name holds a secret."""
    words = [word.lower() for word in _WORD.findall(unquote(name))]
    if not words:
        return False
    return not _WORDS.isdisjoint(words) or words[-1].endswith(_ENDINGS) or "".join(words) in _NAMES


def mask_url(url: str) -> str:
    """`url` with asterisks in place of its credentials and of its secret parameters."""
    masked = _USER.sub(f"{MASK}@", url, count=1)
    return _PARAMETER.sub(lambda found: f"{found[1]}={MASK}" if is_secret_name(found[1]) else found[0], masked)


def masked_if_secret(url: str) -> str:
    """`url`, as a `MaskedUrl` if it contains a secret."""
    return url if mask_url(url) == url else MaskedUrl(url)


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with the values of secret ones masked."""
    return {name: MaskedStr(value) if is_secret_name(name) else value for name, value in headers.items()}


def mask_options(value: Any) -> Any:
    """`value` with asterisks in place of the texts of secret options, at any depth."""
    if isinstance(value, dict):
        fields = cast(dict[Any, Any], value).items()
        return {
            name: MASK if str(name).lower() in _OPTIONS and isinstance(inner, str) else mask_options(inner)
            for name, inner in fields
        }
    return [mask_options(inner) for inner in cast(list[Any], value)] if isinstance(value, list) else value


def secrets_in_url(url: str) -> Iterator[str]:
    """The secrets in a URL, in each form in which a server may repeat them."""
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError:
        return
    found = [value for name, value in _PARAMETER.findall(url) if is_secret_name(name)]
    found += [text for text in (password or user,) if text]  # A user name without a password is a token.
    if user is not None or password is not None:
        yield b64encode(f"{unquote(user or '')}:{unquote(password or '')}".encode()).decode()
    for secret in found:
        plain = unquote(secret)
        yield from dict.fromkeys((secret, plain, plain.replace("+", " "), quote(plain, safe="")))


def frameless(error: E) -> E:
    """`error` without its traceback, cause and context, whose frames may hold secrets."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
