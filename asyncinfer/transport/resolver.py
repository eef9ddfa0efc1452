"""Looks up host names for aiohttp in threads of this package.

aiohttp's `ThreadedResolver` uses the default executor of the event loop, which the application may have filled.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from asyncinfer.aio.limiters import NAMES

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class OwnThreadsResolver(AbstractResolver):
    """Resolves names as the operating system does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await NAMES.run(_look_up, host, port, family, abandon_on_cancel=True)

    async def close(self) -> None:
        return


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """The addresses of `host`. Blocks."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror:
        # On Windows, AI_ADDRCONFIG does not find localhost when the machine is offline.
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [
        ResolveResult(
            hostname=host,
            # A numeric address. For a link-local IPv6 address it includes the interface.
            host=socket.getnameinfo(address, _NUMERIC)[0],
            port=port,
            family=kind,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in found
    ]
