"""The sockets of a server: one for each address of its host."""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager

from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import os_error_text

# The machine does not have this address, or not this family of addresses, although its name server knows them.
_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to all addresses of a host, but do not listen yet. Blocks to look the host up.

    Args:
        port: The same for all addresses. 0: any free port.

    Raises:
        ConfigError: The address is wrong or in use.
    """
    bound: list[socket.socket] = []
    with ExitStack() as stack:
        try:
            for family, address in _addresses(host, port):
                if (opened := _bound(family, address, port)) is not None:
                    bound.append(stack.enter_context(closing(opened)))
                    port = port_of(opened)
            if not bound:
                raise OSError(errno.EADDRNOTAVAIL, "this machine does not have the address")
        except (OSError, UnicodeError, OverflowError) as problem:
            raise _cannot_listen(host, port, problem) from None
        stack.pop_all()
    return bound


@contextmanager
def listening_errors(host: str, port: int) -> Generator[None]:
    """Raise a ConfigError if the block cannot listen."""
    try:
        yield
    except OSError as problem:
        raise _cannot_listen(host, port, problem) from None


def url_of(listening: socket.socket) -> str:
    """Return the URL of a server that listens on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def port_of(bound: socket.socket) -> int:
    """Return the port of a socket."""
    return bound.getsockname()[1]


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    """Return a socket that is bound to an address; None if the machine does not have the address."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(closing(socket.socket(family, socket.SOCK_STREAM)))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((address, port))
        except OSError as problem:
            if problem.errno in _MISSING:
                return None
            raise
        stack.pop_all()
        return opened


def _cannot_listen(host: str, port: int, problem: Exception) -> ConfigError:
    why = os_error_text(problem) if isinstance(problem, OSError) else str(problem)
    return ConfigError(f"the server cannot listen on {host}:{port}: {why}")
