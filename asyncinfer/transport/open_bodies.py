"""The response bodies that have not ended."""

from __future__ import annotations

import weakref

import aiohttp

from asyncinfer.transport.compat import fail_body
from asyncinfer.transport.exchange import Exchange


class OpenBodies:
    """Ends the reads of a transport that is closed: aiohttp does not inform the readers of its connections."""

    def __init__(self) -> None:
        self._exchanges: weakref.WeakSet[Exchange] = weakref.WeakSet()

    def add(self, exchange: Exchange) -> None:
        """Note a response, unless its body has ended already."""
        if not exchange.content.is_eof():
            self._exchanges.add(exchange)

    def end(self) -> None:
        """Raise an error in the readers of all bodies that have not ended. Called on their event loop."""
        for exchange in list(self._exchanges):
            if not exchange.content.is_eof():
                fail_body(exchange.content, aiohttp.ClientConnectionError("the engine was closed"))
