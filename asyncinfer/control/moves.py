"""Counts how often a row was sent to another endpoint, and what that costs the row.

An endpoint that is put aside is down, so a failure there is not the fault of the row. The first failures of an endpoint
that dies come before it is put aside. So a row may also leave an endpoint that may be down, without using up a retry,
but only a few times. If the endpoint answers afterwards, it was not down: the retry is used up then.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncinfer.control.aside import FAULTS


class Moves:
    """The moves of one row.

    Args:
        endpoints: How many endpoints there are.

    Attributes:
        count: How many moves there were.
    """

    __slots__ = ("_free", "_unsettled", "count")

    def __init__(self, endpoints: int) -> None:
        self.count = 0
        # One for each endpoint. With a single row in flight, one of them fails `FAULTS` times before others are used.
        self._free = endpoints - 1 + FAULTS
        # The endpoints that the row has left, and how many answers each had given then.
        self._unsettled: list[tuple[int, int]] = []

    def add(self) -> None:
        """The row is sent to another endpoint."""
        self.count += 1

    def may_leave(self, spent: int, max_retries: int) -> bool:
        """Whether the row may leave an endpoint that is not put aside without using up a retry.

        Args:
            spent: The retries that the row has used up.
        """
        return self._free > 0 and (spent < max_retries or not spent)

    def leave(self, endpoint: int, answers: int) -> None:
        """The row leaves an endpoint, which may be down, without using up a retry.

        Args:
            answers: How many answers the endpoint has given so far.
        """
        self._free -= 1
        self._unsettled.append((endpoint, answers))

    def settle(self, answers_of: Callable[[int], int]) -> int:
        """Return how many retries the row has used up at endpoints that have answered since the row left them."""
        down = [(at, answers) for at, answers in self._unsettled if answers_of(at) == answers]
        used_up = len(self._unsettled) - len(down)
        self._unsettled = down
        return used_up
