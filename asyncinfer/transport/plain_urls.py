"""Reads URLs that every client reads in the same way.

A URL from an untrusted source is checked here, and fetched by another program, such as a proxy or an API. If the two
read different hosts in it, the check is useless. So only unambiguous URLs are accepted.

Sources: RFC 3986; WHATWG's URL Standard, November 2026, for the characters that browsers and clients remove or replace.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

# A host of ASCII letters: clients use different versions of IDNA for others. No backslash, which some clients read as a
# slash, and no white space or control characters, which some clients remove.
_URL = re.compile(
    r"https?://(?P<user>[\w.~%!$&'()*+,;=:-]*@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?))"
    r"(?::[0-9]{1,5})?(?:[/?#](?P<rest>.*))?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_UNSAFE = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Clients read a last label like these as a part of an IPv4 address: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class AmbiguousUrlError(ValueError):
    """Clients may read this URL in different ways, or it is not an http or https URL."""


def plain_host(url: str, *, allow_user: bool = False) -> str:
    """Return the host of an http or https URL.

    Args:
        allow_user: Allow a user name and a password in the URL.

    Raises:
        AmbiguousUrlError: Clients may read this URL in different ways, or it is not an http or https URL.
    """
    found = _URL.fullmatch(url)
    if found is None or _UNSAFE.search(found["rest"] or ""):
        raise AmbiguousUrlError("the URL is not valid, or has characters that must be percent-encoded")
    if found["user"] is not None and not allow_user:
        raise AmbiguousUrlError("the URL has a user name")
    try:
        return _host(found["v6"], found["host"])
    except ValueError:
        raise AmbiguousUrlError("the URL has an unusual IP address") from None


def _host(v6: str | None, host: str) -> str:
    """Return a host. An IP address must be written in the usual way, without octal numbers or missing parts."""
    if v6 is not None:
        return str(IPv6Address(v6))
    last = host.removesuffix(".").rpartition(".")[2]
    return str(IPv4Address(host)) if _NUMBER.fullmatch(last) else host
