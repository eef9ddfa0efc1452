"""Rate limits in the headers of a response.

`RateLimit` and `RateLimit-Policy`: draft-ietf-httpapi-ratelimit-headers-10 (September 2025).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# An item of a list: a name, and parameters. In `RateLimit`: the remaining units (`r`), and the seconds until the reset
# (`t`). In `RateLimit-Policy`: the quota (`q`), its unit (`qu`), and its window in seconds (`w`).
_ITEM = re.compile(r"(?:^|[,;])\s*(\"[^\"]{0,64}\"|[\w-]{1,64})((?:\s*;\s*\w{1,16}=[^,;]{1,256})+)")
_PARAMETER = re.compile(r";\s*(\w+)=([^,;]+)")
_LONGEST = 4000  # characters of a header that are read


class LimitObservation(NamedTuple):
    """One limit, as the headers of one response report it.

    Args:
        limit: The size of the limit: requests or tokens.
        remaining: The number of requests or tokens that are left.
        reset: The seconds until all of it is available again.
    """

    limit: int
    remaining: int
    reset: float


def rate_limit_items(header: str) -> list[tuple[str, dict[str, str]]]:
    """Read a `RateLimit` or `RateLimit-Policy` header. Items that cannot be read are left out.

    Returns:
        The name and the parameters of each limit. `"api";r=0;t=55` becomes `('"api"', {"r": "0", "t": "55"})`.
    """
    return [
        (name, {key: value.strip() for key, value in _PARAMETER.findall(parameters)})
        for name, parameters in _ITEM.findall(header[:_LONGEST])
    ]
