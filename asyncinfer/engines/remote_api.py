"""The API that the requests of a call go to: its URL, and what authorises them."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from asyncinfer.config import RemoteParams
from asyncinfer.engines.redaction import secrets_of
from asyncinfer.errors import ConfigError
from asyncinfer.providers.auth import Signer
from asyncinfer.providers.base_url import ChatUrl, chat_url, likely_url
from asyncinfer.providers.provider import Provider
from asyncinfer.types.masking import MASK, mask_url, without_credentials


class RemoteApi(NamedTuple):
    """The API that requests with some settings go to.

    Args:
        provider: With the API that the settings choose.
        remote: The parameters of the call, with the API that is used.
        url: The URL for chats.
        sign: Authorises each request.
    """

    provider: Provider
    remote: RemoteParams
    url: str
    sign: Signer

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets that no message may contain."""
        return secrets_of(self.url, self.sign)

    def likely_url(self) -> str | None:
        """Return what the URL for chats should probably be, if the server has no such path. None if it looks right."""
        own = self.provider.url or ""
        if not self.provider.dialect.path or "{" in own:  # The path contains the model or the project.
            return None
        if urlsplit(own).hostname == urlsplit(self.url).hostname:
            return None if own == self.url else own
        return likely_url(self.url, self.provider.paths())

    def listing_url(self) -> str:
        """Return the URL of the list of models."""
        provider = self.provider
        is_own = self.url == provider.resolve_url(provider.url)
        own = provider.resolve_url(provider.listing) if is_own else None
        return own or provider.dialect.listing(self.url)

    def likely_listing_url(self) -> str | None:
        """Return what the URL of the list of models should probably be, as `likely_url` does for chats."""
        likely = self.likely_url()
        return self.provider.dialect.listing(likely) if likely is not None else None


def url_for_chats(provider: Provider, engine_type: str, remote: RemoteParams) -> ChatUrl:
    """Return the URL for chats that `api_url` means.

    Args:
        provider: With the API that the settings choose.

    Raises:
        ConfigError: The URL is missing or invalid.
    """
    if remote.api_url is None:
        raise ConfigError(f"remote_params.api_url: not set; {engine_type} needs {provider.url_hint()}")
    if MASK in unquote(remote.api_url):
        raise ConfigError(
            f"remote_params.api_url: its credentials are masked ({mask_url(remote.api_url)}), as in a saved "
            "configuration; put them back, for instance as ${VARIABLE}"
        )
    found = chat_url(remote.api_url, provider.paths())
    if found is None:
        shown = without_credentials(remote.api_url)
        raise ConfigError(f"remote_params.api_url: should begin with http:// or https:// and a host (found {shown!r})")
    return found
