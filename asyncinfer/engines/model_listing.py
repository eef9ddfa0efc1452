"""Reads the list of models of an API, page by page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from anyio import fail_after

from asyncinfer.aio.tasks import task_group
from asyncinfer.engines.redaction import error_without_secrets, response_without_secrets
from asyncinfer.engines.refusal import refusal
from asyncinfer.engines.remote_api import RemoteApi
from asyncinfer.engines.request_plan import response_limits
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import masked_if_secret

log = logging.getLogger("asyncinfer")

# The most pages of a list of models that are read. No API has more; a longer list is an error of the server.
_PAGES = 1000


class ModelListing:
    """The list of models of an API."""

    def __init__(self, transport: Transport, api: RemoteApi) -> None:
        self._transport, self._dialect, self._sign = transport, api.provider.dialect, api.sign
        self._secrets, self._likely_url = api.secrets(), api.likely_listing_url()
        self._first = HttpRequest(
            masked_if_secret(api.listing_url()),
            self._dialect.headers,
            method="GET",
            timeout=api.remote.connection_timeout,
            limits=response_limits(api.remote),
        )

    async def entries(self) -> list[dict[str, Any]]:
        """Return the entries of all pages. One timeout applies to all pages together.

        Raises:
            RequestError: The API did not return a list of models in time.
        """
        try:
            return await self._pages_in_time()
        except RequestError as error:
            raise error_without_secrets(self._secrets, error) from None

    async def _pages_in_time(self) -> list[dict[str, Any]]:
        try:
            with fail_after(self._first.timeout or None):
                return await self._pages()
        except TimeoutError:
            raise RequestError(
                f"no complete list of models within {self._first.timeout:g} s (remote_params.connection_timeout)",
                error_type=InferenceErrorType.TIMEOUT,
                is_retryable=True,
            ) from None

    async def _pages(self) -> list[dict[str, Any]]:
        """Return the entries of all pages. A repeated query ends the list."""
        entries: list[dict[str, Any]] = []
        seen: set[str] = set()
        query: str | None = ""
        while query is not None and query not in seen and len(seen) < _PAGES:
            seen.add(query)
            request = self._page(query)
            response = response_without_secrets(await self._transport.send(await self._sign(request)), self._secrets)
            if not response.is_success:
                raise refusal(response, request.url, self._likely_url)
            entries += self._dialect.entries(response)
            query = self._dialect.more_models(response)
        return entries

    def _page(self, query: str) -> HttpRequest:
        url = self._first.url
        joint = "&" if "?" in url else "?"
        return self._first._replace(url=f"{url}{joint}{query}" if query else url)


async def models_of_all(listings: Sequence[Callable[[], Awaitable[list[str]]]]) -> list[str]:
    """Return the names of the models of all endpoints, sorted. Endpoints that do not return them are logged.

    Args:
        listings: Return the names of the models of one endpoint each.

    Raises:
        RequestError: No endpoint returned names.
    """
    found: set[str] = set()
    failures: list[RequestError] = []

    async def read(listing: Callable[[], Awaitable[list[str]]]) -> None:
        try:
            found.update(await listing())
        except RequestError as error:
            failures.append(error)

    async with task_group() as tasks:
        for listing in listings:
            tasks.start_soon(read, listing)
    if len(failures) == len(listings):
        raise failures[0]
    for error in failures:
        log.warning("one of %d endpoints did not list its models: %s", len(listings), error)
    return sorted(found)
