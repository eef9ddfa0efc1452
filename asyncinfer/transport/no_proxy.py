"""Which hosts are reached without a proxy: the variable `no_proxy`.

Its forms are those that curl 8.21, requests 2.34 and Go 1.25 take (November 2026). The entries are separated by commas
or spaces:

- `example.com`, `.example.com` or `*.example.com`: the host, and all hosts below it
- `10.0.0.7`, `::1` or `[::1]`: an address, in any spelling
- `10.0.0.0/8` or `fd00::/8`: the addresses of a network
- any of these with a port (`example.com:8080`, `[::1]:8080`): only this port
- `*`: every host
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_SEPARATORS = re.compile(r"[,\s]+")
# An entry with a port, but not an IPv6 address without brackets.
_WITH_PORT = re.compile(r"(\[[^]]*\]|[^:]*):(\d+)")
_BRACKETS = re.compile(r"[\[\]]")
_SCHEME = re.compile(r"^[a-z]+://")


def is_bypassed(no_proxy: str, host: str, port: int | None) -> bool:
    """Whether `no_proxy` names a host.

    Args:
        host: A host name, or an IP address.
        port: The port of the request; None if it is unknown.
    """
    host = _BRACKETS.sub("", host).rstrip(".").lower()
    return any(_names(entry, host, port) for entry in _SEPARATORS.split(no_proxy.lower()) if entry)


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether one entry names the host and the port."""
    entry = _SCHEME.sub("", entry).rstrip("/")
    with_port = _WITH_PORT.fullmatch(entry)
    if with_port is not None and int(with_port[2]) != port:
        return False
    name = _BRACKETS.sub("", with_port[1] if with_port is not None else entry)
    if name == "*":
        return True
    address = _address(host)
    return _has_address(name, address) if address is not None else _has_name(name, host)


def _has_name(name: str, host: str) -> bool:
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _has_address(name: str, address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the network or is the address in `name`."""
    with suppress(ValueError):
        return address in ip_network(name, strict=False)
    return False


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is; None for a host name. An IPv4 address within an IPv6 address counts as the former."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
