"""Keeps file descriptors free for files, however many connections are requested."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from asyncinfer.aio.descriptors import are_scarce
from asyncinfer.transport.addresses import is_public

# Descriptors that connections leave free for scratch files, outputs, and the application.
RESERVE = 64
# Low descriptors that files and sockets of this package use later.
_OTHERS = 8
# The longest wait (seconds). Other code in the process may free a descriptor without a notification.
_POLL = 1.0
# All descriptors of the process, all descriptors of the machine, or its memory for sockets are in use.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})

# Windows does not have this module.
_resource: Any = import_module("resource") if find_spec("resource") else None

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]


class PrivateAddressError(OSError):
    """A connection to an address that is not public was refused before it was opened."""


def open_socket(info: AddressInfo) -> socket.socket:
    """A socket for an address, as `socket.getaddrinfo` describes it.

    Raises:
        OSError: EMFILE if fewer than `RESERVE` descriptors would stay free.
    """
    most = connection_limit()
    family, kind, protocol = info[:3]
    opened = socket.socket(family, kind, protocol)
    # The system gives out the lowest free number.
    if most is not None and opened.fileno() >= most:
        opened.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return opened


def open_public_socket(info: AddressInfo) -> socket.socket:
    """As `open_socket`, for public addresses only. The resolved address is checked, not the host name.

    Raises:
        PrivateAddressError: The address is not public.
    """
    if not is_public(str(info[4][0])):
        raise PrivateAddressError(errno.EACCES, "the address is not public")
    return open_socket(info)


def connection_limit() -> int | None:
    """Connections may only use descriptors below this number; None if there is no limit."""
    soft = _soft_limit()
    return None if soft is None else soft - min(RESERVE, soft // 4)


def _soft_limit() -> int | None:
    """How many descriptors this process may have; None if there is no limit."""
    if _resource is None:
        return None
    soft: int = _resource.getrlimit(_resource.RLIMIT_NOFILE)[0]
    return None if soft == _resource.RLIM_INFINITY else soft


def possible_connections() -> int | None:
    """How many more connections this process can open; None if there is no limit."""
    most = connection_limit()
    if most is None:
        return None
    try:
        lowest_free = os.dup(2)
    except OSError as error:  # A daemon may have closed its standard error.
        return 1 if error.errno in _SHORTAGES else most
    os.close(lowest_free)
    return max(1, most - lowest_free - _OTHERS)


def is_shortage(error: BaseException, *, connected_before: bool) -> bool:
    """Whether a connection failed because this machine lacks descriptors, ports or memory for it.

    Args:
        error: An OSError, or aiohttp's error around one.
        connected_before: The address could be connected to earlier. Otherwise EADDRNOTAVAIL can also mean an address
            that this machine has no route to.
    """
    number = getattr(error, "errno", None)
    if number in _SHORTAGES or (number == errno.EADDRNOTAVAIL and connected_before):
        return True
    # If several addresses were tried, the error contains only the messages of their errors.
    return os.strerror(errno.EMFILE) in str(error) or (isinstance(error, OSError) and _none_is_free())


def shortage_cause(error: OSError) -> str:
    """What is used up, and what the user can do, as the end of a sentence. `error`: as in `is_shortage`."""
    match error.errno:
        case errno.ENFILE:
            return "the machine has no free file descriptor. Close other programs, or lower remote_params.num_workers"
        case errno.ENOBUFS:
            return "the machine has no memory left for sockets. Lower remote_params.num_workers"
        case errno.EADDRNOTAVAIL:
            return "no local port is free for further connections to this address. Lower remote_params.num_workers"
        case _:
            soft = _soft_limit()
            limit = f"the limit of {f'{soft} ' if soft else ''}open files"
            return f"{limit} is reached. Raise it (ulimit -n), or lower remote_params.num_workers"


def _none_is_free() -> bool:
    """Whether no descriptor is free. Needed because name resolution does not report EMFILE."""
    return are_scarce(1)


class ConnectionQueue:
    """A queue of requests. They wait until a connection of the pool ends, because no further one can be opened."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Hashable, asyncio.Future[None]]] = deque()
        self.last_ended = 0.0
        """When a connection ended while a request waited, by the loop's clock."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wants_other(self, key: Hashable) -> bool:
        """Whether the first request in the queue cannot use a connection with this key."""
        return bool(self._waiting) and self._waiting[0][0] != key

    async def wait(self, key: Hashable) -> None:
        """Wait until a connection has ended, at most a second."""
        entry = key, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await entry[1]
        finally:
            with suppress(ValueError):
                self._waiting.remove(entry)

    def ended(self) -> None:
        """A connection has ended, or is free for another request: wake the first request in the queue."""
        self.last_ended = asyncio.get_running_loop().time()
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
