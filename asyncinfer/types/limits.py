"""What a response says about a rate limit."""

from __future__ import annotations

from typing import NamedTuple


class LimitObservation(NamedTuple):
    """One limit, as the headers of one response show it.

    Args:
        limit: The size of the limit: requests or tokens.
        remaining: How much of it was left.
        reset: The seconds until all of it is available again.
    """

    limit: int
    remaining: int
    reset: float
