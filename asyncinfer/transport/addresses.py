"""Decides which IP addresses are public. URLs in rows and requests may lead only to these."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from asyncinfer.aio.limiters import NAMES
from asyncinfer.errors import InferenceErrorType, RequestError

# IPv6 addresses whose last four bytes are an IPv4 address: NAT64 (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
# The range that is assigned for global unicast (IANA, IPv6 address space, November 2026).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# The blocks that are not globally reachable: IANA's special-purpose address registries, November 2026. The lists of the
# standard library differ between the versions of Python.
_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_SPECIAL_V6 = tuple(IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "3fff::/20"))


class NotPublicError(RequestError):
    """A request was not sent because its address is not public."""

    def __init__(self) -> None:
        super().__init__("its address is not public", error_type=InferenceErrorType.CONFIG)


async def has_only_public_addresses(host: str) -> bool:
    """Look up a host, and return whether all its addresses are public.

    Raises:
        OSError: The host cannot be looked up.
        UnicodeError: The name of the host is not valid.
    """
    found = await NAMES.run(socket.getaddrinfo, host, None, abandon_on_cancel=True)
    return all(is_public(str(address[0])) for *_, address in found)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    False for loopback, private, link-local, shared (RFC 6598), reserved, documentation, multicast and unspecified
    addresses, for IPv6 addresses that embed such an IPv4 address, and for text that is not an IP address.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _is_public_v4(ip) if isinstance(ip, IPv4Address) else _is_public_v6(ip)


def _is_public_v4(ip: IPv4Address) -> bool:
    return not any(ip in block for block in _SPECIAL_V4)


def _is_public_v6(ip: IPv6Address) -> bool:
    if ip in _NAT64:
        return _is_public_v4(IPv4Address(ip.packed[-4:]))
    embedded = ip.ipv4_mapped or ip.sixtofour
    if embedded is not None:
        return _is_public_v4(embedded)
    return ip in _GLOBAL_UNICAST and not any(ip in block for block in _SPECIAL_V6)
