"""Decides which pieces of tool calls a stream can pass on, and at which position each call is.

What was passed on cannot be taken back, and the joined pieces must be equal to the complete call. So a piece is held
back while it may still change:

- a call whose id or name has not arrived yet;
- arguments that may be a placeholder, or that may be left out with their call because the answer was cut off;
- a call whose id is that of another call, because a call that arrived twice is returned once;
- a call with an index that is too high, because other calls may come before it.

The last delta of the stream has everything that was held back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asyncinfer.dialects.call_pieces import StreamedCall
from asyncinfer.types.stream import ToolCallDelta
from asyncinfer.types.tools import ToolCall


class CallOrder:
    """The order of the calls in one answer.

    Args:
        counts_all_parts: The indices count all parts of the answer. Otherwise, they count only its calls.
    """

    def __init__(self, *, counts_all_parts: bool = False) -> None:
        self._counts_all_parts = counts_all_parts
        self._fixed: list[StreamedCall] = []

    def next_delta(self, call: StreamedCall, calls: Sequence[StreamedCall]) -> ToolCallDelta | None:
        """Return the part of a call that can be passed on now; None if there is none.

        Args:
            call: The call that got a piece.
            calls: All calls so far.
        """
        if call.may_be_empty or not (call.id and call.name):
            return None
        position = call.position if call.position is not None else self._fix_until(call, calls)
        if position is None:
            return None
        arguments = call.take()
        if call.is_passed_on:
            return ToolCallDelta(position, arguments=arguments) if arguments else None
        call.is_passed_on = True
        return ToolCallDelta(position, call.id, call.name, arguments)

    def distinct(self, calls: Iterable[StreamedCall]) -> list[StreamedCall]:
        """Return the calls of the complete answer in their order. A call that arrived twice under one id counts once.

        The order is that of the indices; calls without an index come last, in the order of arrival. A call that comes
        after one that was passed on stays behind it, even if its index is lower.
        """
        found: dict[object, StreamedCall] = {}
        others = sorted((call for call in calls if call.position is None), key=_place)
        for call in (*self._fixed, *others):
            key = (call.id, call.name, call.arguments) if call.id else id(call)
            found.setdefault(key, call).extra.update(call.extra)
        return list(found.values())

    def last_deltas(self, streamed: Iterable[StreamedCall], calls: Sequence[ToolCall]) -> tuple[ToolCallDelta, ...]:
        """Return the parts of the calls that were held back.

        Args:
            streamed: The calls in their order.
            calls: The complete calls in the same order. Calls at the end may be left out.
        """
        deltas: list[ToolCallDelta] = []
        for position, (begun, call) in enumerate(zip(streamed, calls, strict=False)):
            if not begun.is_passed_on:
                deltas.append(ToolCallDelta(position, call.id, call.function.name, call.function.arguments))
            elif arguments := begun.take():
                deltas.append(ToolCallDelta(position, arguments=arguments))
        return tuple(deltas)

    def _fix_until(self, call: StreamedCall, calls: Sequence[StreamedCall]) -> int | None:
        """Fix the positions of all calls up to this one. Returns its position, or None if it may still change."""
        if self._lacks_calls(call, calls):
            return None
        ordered = sorted((other for other in calls if other.position is None), key=_place)
        until = next(number for number, other in enumerate(ordered, 1) if other is call)
        ids = [other.id for other in (*self._fixed, *ordered[:until])]
        if "" in ids or len(set(ids)) < len(ids):
            return None
        for other in ordered[:until]:
            other.position = len(self._fixed)
            self._fixed.append(other)
        return call.position

    def _lacks_calls(self, call: StreamedCall, calls: Sequence[StreamedCall]) -> bool:
        """Whether calls with lower indices have not arrived yet."""
        if self._counts_all_parts or not call.index:
            return False
        lower = {other.index for other in calls if other.index is not None and other.index < call.index}
        return len(lower) < call.index


def _place(call: StreamedCall) -> tuple[bool, int]:
    """Return the sort key of a call. Calls without an index come last."""
    return call.index is None, call.index or 0
