"""Requests to Gemini's own API, from the URL of its OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from asyncinfer.dialects.batch import BatchContext, Exchange
from asyncinfer.dialects.google.gemini import native_base

# Who authorises these requests: they have the key in another header than those of the compatible endpoint.
NATIVE = "native"


def native_exchange(
    context: BatchContext,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    service_path: str = "",
) -> Exchange:
    """Return a request of Gemini's own API.

    Args:
        path: The path below the version of the API.
        service_path: The path before the version, for uploads and downloads.
    """
    base = native_base(context.chat_url.partition("?")[0])
    if service_path:
        root, slash, version = base.rpartition("/")
        base = f"{root}{service_path}{slash}{version}"
    request = context.request(method, base + path, body, query=query)
    return Exchange(request._replace(headers={**request.headers, **(headers or {})}), NATIVE)
