"""Decides which URLs a request may name: http and https URLs of public addresses, if the server allows URLs."""

from __future__ import annotations

from asyncinfer.serve.api_errors import bad_request
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.transport.addresses import has_only_public_addresses
from asyncinfer.transport.plain_urls import AmbiguousUrlError, plain_host


async def check_url(location: str, url: str, settings: ServerSettings) -> None:
    """Check the URL of an image or a document.

    An API that fetches the URL itself is protected only in part: it looks up the host again, and follows redirects.

    Args:
        location: The place in the request, for errors.

    Raises:
        ApiError: The server allows no URLs, or not this one.
    """
    if not settings.allow_image_urls:
        raise bad_request(f"{location}: this server fetches no URLs; send the content as a data URL.", location)
    try:
        host = plain_host(url)
    except AmbiguousUrlError:
        problem = "should be a data URL, or a plain URL that begins with http:// or https://, without a user name"
        raise bad_request(f"{location}: {problem}.", location) from None
    if not await _is_public_host(host):
        raise bad_request(f"{location}: the address of this URL is not public, or its host is not known.", location)


async def _is_public_host(host: str) -> bool:
    """Whether a host is known, and all its addresses are public."""
    try:
        return await has_only_public_addresses(host)
    except (OSError, UnicodeError):
        return False
