"""Completes the URL that a user gives for an API, and finds a likely correction of a wrong one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from asyncinfer.types.masking import masked_if_secret, without_credentials

# The ends of base URLs for OpenAI's SDK: the version of the API (`/beta` is DeepSeek's), the name that Google or a
# gateway gives to this API, or a deployment of Azure.
_BASE = re.compile(
    r"/(?:v\d+(?:\.\d+)?(?:(?:alpha|beta|preview)\d*)?|beta|openai|openapi|compat|deployments/[^/]+)$", re.IGNORECASE
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# The ends of host names that have no public certificate.
_LOCAL_NAMES = (".local", ".localhost", ".internal", ".lan", ".test")
_UP_TO_VERSION = re.compile(r".*/v\d[\w.]*(?:/openai)?(?=/|$)", re.IGNORECASE)
_DOUBLED = re.compile(r"((?:/[^/]+)+?)\1+(?=/|$)")
# Ends of paths that are not part of a base URL: other functions of an API, and beginnings of the path for chats.
_OTHER_END = re.compile(r"/(?:chat|completions?|generate|messages|models|responses|embeddings)$")


class ApiPaths(NamedTuple):
    """The paths of an API, in the URLs of one provider.

    Args:
        chat: The path for chats, below the version of the API.
        base: The path with the version, such as `/v1`. Empty if a URL without a path is complete.
        replaced: Ends of URLs for other functions of the same server.
        other: The path for chats of the server's other API, which `chat` replaces at the end of a URL.
    """

    chat: str
    base: str = "/v1"
    replaced: Sequence[str] = ()
    other: str = ""


class ChatUrl(NamedTuple):
    """The URL for chats. `note`: what was assumed or replaced, for a message; empty if nothing was."""

    url: str
    note: str = ""


def chat_url(url: str, paths: ApiPaths) -> ChatUrl | None:
    """Return the URL for chats that the user's URL means; None for an invalid URL.

    - Without a scheme, `http` is assumed for local names and for addresses that are not public, otherwise `https`.
    - A host without a path, or with the beginning of `paths.base`, gets `paths.base` and `paths.chat`.
    - A URL that ends with a version, such as `/v1` or `/api/v3`, gets `paths.chat`.
    - A URL that ends with `paths.other` gets `paths.chat` in its place.
    - Any other URL is complete. Queries are kept.
    """
    url = url.strip()
    given = url if _SCHEME.match(url) else _with_scheme(url.removeprefix("//"))
    parts = _parts(given)
    if parts is None:
        return None
    end = next((end for end in paths.replaced if parts.path.rstrip("/").endswith(end)), "")
    path = _likely_path(parts.path, paths) if end else _complete(parts.path, paths)
    completed = masked_if_secret(urlunsplit(parts._replace(path=path, fragment="")))
    shown, target = without_credentials(url), without_credentials(completed)
    if end:
        note = f"{shown} ends with {end}; requests go to the OpenAI API of the same server, {target}"
    else:
        note = f"{shown} has no scheme; requests go to {target}" if given != url else ""
    return ChatUrl(completed, note)


def _with_scheme(url: str) -> str:
    """`url` with `http` for a host that is not public, and otherwise with `https`, so that the key is encrypted."""
    secure = "https://" + url
    parts = _parts(secure)
    return secure if parts is None or not is_local(parts.hostname or "") else "http://" + url


def is_local(host: str) -> bool:
    """Return whether a host is not in the public internet, as far as its name or its address shows it."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_NAMES)


def _complete(path: str, paths: ApiPaths) -> str:
    base = path.rstrip("/")
    if paths.other and base.endswith(paths.other):
        return base.removesuffix(paths.other) + paths.chat
    if f"{paths.base}/".startswith(f"{base}/"):
        return paths.base + paths.chat
    return base + paths.chat if _BASE.search(base) else path


def likely_url(url: str, paths: ApiPaths) -> str | None:
    """Return what a URL for chats should probably be, if its server has no such path. None if it looks right."""
    parts = urlsplit(url)
    likely = _likely_path(parts.path, paths)
    return None if likely == parts.path else without_credentials(urlunsplit(parts._replace(path=likely)))


def _likely_path(path: str, paths: ApiPaths) -> str:
    once = _DOUBLED.sub(r"\1", re.sub("/+", "/", path).rstrip("/"))
    if version := _UP_TO_VERSION.match(once):
        return version[0] + paths.chat
    if once != path and once.endswith(paths.chat):
        return once
    above = once.removesuffix(paths.chat)
    while (shorter := _OTHER_END.sub("", above)) != above:
        above = shorter
    return above + paths.base + paths.chat


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None for an invalid URL."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # An invalid port or IPv6 address.
        return None
