"""Chooses the transport of engines that get no session."""

from __future__ import annotations

import logging
from functools import lru_cache

from asyncinfer.transport import compat
from asyncinfer.transport.base import Transport
from asyncinfer.transport.fallback import FallbackTransport
from asyncinfer.transport.pooled import PooledTransport

log = logging.getLogger("asyncinfer")


def default_transport(*, public_only: bool = False) -> Transport:
    """A pooled transport; a slower one, with a warning, if this version of aiohttp does not support it.

    Args:
        public_only: Refuse to connect to addresses that are not public, proxies included.
    """
    if not (missing := compat.missing()):
        return PooledTransport(public_only=public_only)
    _warn(missing)
    return FallbackTransport(public_only=public_only)


@lru_cache(maxsize=1)
def _warn(missing: tuple[str, ...]) -> None:
    """Log, once in a process, that the pooled transport cannot be used."""
    log.warning(
        "aiohttp %s lacks %s: requests go through aiohttp.ClientSession, which takes more CPU time. "
        "asyncinfer was checked with aiohttp %s",
        compat.VERSION,
        ", ".join(missing),
        compat.CHECKED,
    )
