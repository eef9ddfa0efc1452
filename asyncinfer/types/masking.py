"""Masks secrets in reprs and URLs.

Keys are stored as masked text or bytes. These behave like plain text or bytes, but their repr shows asterisks, also in
the repr of a container and in tracebacks. The name of a URL parameter or of a header decides whether its value is a
secret: `api-key` is secret, Azure's `api-version` is not.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, SupportsIndex, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

E = TypeVar("E", bound=BaseException)

MASK = "**********"  # as pydantic's SecretStr shows itself
# A name that contains one of these words is the name of a secret: `api_key`, `X-Amz-Signature`, `accessToken`, `sig`.
_WORDS = frozenset(
    [
        *("key", "keys", "apikey", "token", "secret", "secrets", "sig", "signature", "password", "passwords", "passwd"),
        *("pwd", "passphrase", "passcode", "auth", "authorization", "authentication", "credential", "credentials"),
        *("jwt", "bearer", "cookie", "cookies"),
    ]
)
# Words that mean a secret if they are the last word: `user_session`, `client_assertion`.
_LAST_WORDS = frozenset(["pass", "pw", "otp", "totp", "pat", "ticket", "assertion", "session"])
_NAMES = frozenset(["code", "sas", "sessionid", "sid"])  # Secrets only as the whole name.
_ENDINGS = ("key", "token", "secret", "password", "signature", "credential")
_NOT_SECRETS = frozenset(["monkey", "donkey", "turkey", "hockey", "jockey", "whiskey", "hotkey", "turnkey"])
# If one of these is the last word, the value is not secret. It describes a secret or counts tokens: `key_id`,
# `token_limit`.
_DESCRIPTIONS = frozenset(
    [
        *("id", "ids", "name", "names", "type", "types", "path", "file", "env", "varname", "url", "uri", "version"),
        *(
            "limit",
            "limits",
            "count",
            "length",
            "size",
            "budget",
            "usage",
            "index",
            "choice",
            "expires",
            "expiry",
            "ttl",
        ),
        *("heads", "dim", "dims", "layers", "map", "mode", "method", "scheme", "format", "mask", "cache"),
    ]
)
# Words before `key` and `token` in names of data: `pad_token`, `prompt_cache_key`.
_DATA_WORDS = frozenset(
    [
        *(
            "pad",
            "eos",
            "bos",
            "unk",
            "sep",
            "cls",
            "mask",
            "image",
            "audio",
            "video",
            "stop",
            "start",
            "end",
            "special",
        ),
        *("cache", "sort", "primary", "foreign", "partition", "group", "idempotency", "public", "row", "new", "per"),
    ]
)
# Keywords of a JSON schema. Their values are not secrets, whatever the name of the property.
_SCHEMA_KEYWORDS = frozenset(
    ["type", "description", "title", "format", "pattern", "enum", "required", "properties", "items", "$ref"]
)
_CREDENTIALS = re.compile(r"(?i)(?:bearer|basic|token) +\S+")
_URL = re.compile(r"\S*//\S+")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&;#]+)=([^&;#]*)")
_USER = re.compile(r"(?:(?<=://)|^(?://)?)[^/?#]*@")


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
    last = words[-1]
    if last in _LAST_WORDS or "".join(words) in _NAMES:
        return True
    if last in _DESCRIPTIONS or (last in ("key", "token") and not _DATA_WORDS.isdisjoint(words[-2:-1])):
        return False
    return not _WORDS.isdisjoint(words) or (last.endswith(_ENDINGS) and last not in _NOT_SECRETS)


def mask_url(url: str) -> str:
    """Return `url` with asterisks in place of its credentials and of its secret parameters."""
    masked = _USER.sub(lambda found: f"{'//' if found[0].startswith('//') else ''}{MASK}@", url, count=1)
    return _PARAMETER.sub(lambda found: f"{found[1]}={MASK}" if is_secret_name(found[1]) else found[0], masked)


def without_credentials(url: str) -> str:
    """Return `url` without user, password, query and fragment. The URL may be invalid."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is not None and parts.netloc:
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return _USER.sub("", re.split("[?#]", url, maxsplit=1)[0], count=1)


def masked_if_secret(url: str) -> str:
    """Return `url`, as a `MaskedUrl` if it contains a secret."""
    return url if mask_url(url) == url else MaskedUrl(url)


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` with the values of secret headers masked."""
    return {name: MaskedStr(value) if is_secret_name(name) else value for name, value in headers.items()}


def mask_options(value: Any) -> Any:
    """Return `value` with asterisks in place of secrets, at any depth: values with the name of a secret, and secrets in
    URLs.
    """
    return _masked(value, secret=False)


def masked_places(value: Any, place: str = "") -> Iterator[str]:
    """Yield the dotted names of the places in `value` that contain asterisks instead of a secret."""
    if isinstance(value, dict):
        for name, inner in cast(dict[Any, Any], value).items():
            yield from masked_places(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(cast(list[Any], value)):
            yield from masked_places(inner, f"{place}[{index}]")
    elif isinstance(value, str) and (value == MASK or (MASK in unquote(value) and mask_url(value) == value)):
        yield place


def _masked(value: Any, *, secret: bool) -> Any:
    """Mask a value. `secret`: whether the name of a field around `value` is the name of a secret."""
    if isinstance(value, dict):
        return _masked_fields(cast(dict[Any, Any], value), secret)
    if isinstance(value, list | tuple):
        return [_masked(inner, secret=secret) for inner in cast(list[Any], value)]
    if isinstance(value, str):
        if secret or _CREDENTIALS.fullmatch(value):
            return MASK if value else value
        return _URL.sub(lambda found: mask_url(found[0]), value) if "//" in value else value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return MASK if secret and (is_number or isinstance(value, bytes)) else value


def _masked_fields(fields: dict[Any, Any], secret: bool) -> dict[Any, Any]:
    # Headers may be written as {"name": "Authorization", "value": ...}.
    secret = secret or ("value" in fields and is_secret_name(str(fields.get("name", ""))))
    return {
        name: _masked(inner, secret=is_secret_name(str(name)) or (secret and name not in _SCHEMA_KEYWORDS | {"name"}))
        for name, inner in fields.items()
    }


def secrets_in_url(url: str) -> Iterator[str]:
    """Yield the secrets in a URL, in every encoding in which a server may repeat them."""
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


def secrets_in_header(header: str, value: str) -> Iterator[str]:
    """Yield the secrets in a header: its value, credentials without their scheme, cookies, and secret parameters."""
    yield value
    scheme, _, credentials = value.partition(" ")
    if credentials and _CREDENTIALS.fullmatch(value):
        yield credentials.strip()
        if scheme.lower() == "basic":
            with suppress(ValueError):
                yield b64decode(credentials, validate=True).decode().partition(":")[2]
    for part in value.split(";"):
        name, equals, text = part.partition("=")
        if equals and (header.lower() == "cookie" or is_secret_name(name)):
            yield text.strip().strip('"')


def without_traceback(error: E) -> E:
    """Return `error` without its traceback, cause and context. Their frames may contain secrets."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
