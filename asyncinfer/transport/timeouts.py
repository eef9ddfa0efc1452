"""How long a transport waits."""

from __future__ import annotations

from functools import lru_cache

import aiohttp

# The longest time to connect (seconds). It is short, because even a host that answers slowly accepts connections soon.
CONNECT_SECONDS = 30.0
# A request without a timeout fails if the server sends nothing for this long (seconds).
MAX_SILENCE = 3600.0


def connect_seconds(timeout: float) -> float:
    """How long a request may wait for a connection. `timeout`: that of the request; 0 for no limit."""
    return min(timeout or CONNECT_SECONDS, CONNECT_SECONDS)


@lru_cache(maxsize=16)
def connect_timeout(timeout: float) -> aiohttp.ClientTimeout:
    """`connect_seconds` as aiohttp takes it."""
    seconds = connect_seconds(timeout)
    return aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds)
