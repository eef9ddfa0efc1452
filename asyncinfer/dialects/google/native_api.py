"""Requests to Gemini's own API, from the URL of its OpenAI-compatible endpoint.

Source, November 2026: google-genai 3.6 (`_api_client.py`, `files.py`), for the URLs of uploads and downloads.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncinfer.dialects.batch_steps import BatchContext, Exchange
from asyncinfer.dialects.google.gemini import native_base

# The name of the signer of these requests (`Exchange.service`). The key is in another header than that of requests to
# the compatible endpoint.
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
