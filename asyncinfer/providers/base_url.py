"""Completes the URL that a user gives for an API."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

# The ends of base URLs for OpenAI's SDK: the version of the API, or Google's names for that API.
_VERSIONS = ("/v1", "/openai", "/openapi")


def chat_url(url: str, path: str) -> str | None:
    """Return the URL for chats: `url`, with `path` added if it ends with a version. None for an invalid URL."""
    parts = _parts(url)
    if parts is None:
        return None
    base = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=base + path if base.endswith(_VERSIONS) else parts.path, fragment=""))


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None for an invalid URL."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # An invalid port or IPv6 address.
        return None
