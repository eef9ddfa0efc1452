"""The function calls of a streamed response: the pieces that have arrived, and those that are still missing.

Each piece names its item by `output_index` and by `item_id`. llama.cpp's server sends only `item_id`, which is the
`call_id` of the item (tools/server, November 2026). vLLM 0.32 gives a call another `call_id` in the last event; the
first one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from asyncinfer.dialects.call_pieces import MOST_STREAMED_CALLS
from asyncinfer.dialects.fields import as_count, as_id, as_text
from asyncinfer.types.stream import ToolCallDelta

Json = dict[str, Any]


@dataclass(slots=True)
class _Call:
    """One call. `place`: its place among the calls; `arguments`: the pieces that have been passed on."""

    place: int
    output_index: int | None
    item: Mapping[str, Any]
    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])
    begun: bool = False

    def piece(self, arguments: str) -> ToolCallDelta:
        self.arguments.append(arguments)
        if self.begun:
            return ToolCallDelta(self.place, arguments=arguments)
        self.begun = True
        return ToolCallDelta(self.place, self.id, self.name, arguments)

    def as_item(self) -> Json:
        """Return the call as it has arrived so far."""
        return {**self.item, "arguments": "".join(self.arguments)}

    def rest(self, whole: str) -> list[ToolCallDelta]:
        """Return the missing end of the arguments as a piece; an empty list if nothing is missing.

        Raises:
            ValueError: The pieces before it are not the beginning of the whole.
        """
        before = "".join(self.arguments)
        if not whole.startswith(before):
            raise ValueError("the arguments of a call contradict its pieces")
        return [self.piece(whole[len(before) :])] if len(whole) > len(before) else []


class StreamedCalls:
    """The calls of one streamed response, in the order in which they began.

    The first piece of a call is passed on together with its first arguments, because a call without arguments at the
    end of an answer that was cut off is not a call.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def begin(self, output_index: Any, item: Mapping[str, Any]) -> None:
        """Record the beginning of a call. An item that arrives twice is one call."""
        index, id = as_count(output_index), item.get("call_id") or item.get("id")
        if (index is None and not id) or self._find(index, id) is None:
            self._begin(index, item)

    def add(self, output_index: Any, item_id: Any, arguments: str) -> list[ToolCallDelta]:
        """Add a piece of the arguments. A piece of an unknown call is ignored: the whole call follows."""
        call = self._find(as_count(output_index), item_id)
        return [call.piece(arguments)] if call is not None and arguments else []

    def complete(self, output_index: Any, item_id: Any, arguments: str) -> list[ToolCallDelta]:
        """Return the missing pieces of a call whose whole arguments are known."""
        call = self._find(as_count(output_index), item_id)
        return call.rest(arguments) if call is not None else []

    def finish(self, calls: Sequence[Mapping[str, Any]]) -> tuple[list[Json], list[ToolCallDelta]]:
        """Return all calls of the finished response as items, and their missing pieces.

        Args:
            calls: The calls in the last event; empty if it has none.

        Raises:
            ValueError: They contradict the calls that began before.
        """
        for item in calls[len(self._calls) :]:
            self._begin(None, item)
        if calls and len(calls) != len(self._calls):
            raise ValueError("the last event has other tool calls than those before it")
        whole: Sequence[Mapping[str, Any]] = calls or [call.as_item() for call in self._calls]
        pieces = [piece for call, item in zip(self._calls, whole, strict=True) for piece in _rest(call, item)]
        return [{**item, "call_id": call.id} for call, item in zip(self._calls, whole, strict=True)], pieces

    def unsent(self, count: int) -> list[ToolCallDelta]:
        """Return a piece for each call without arguments, because none was passed on before.

        Args:
            count: How many calls the answer has. Later ones were cut off.
        """
        return [call.piece("") for call in self._calls[:count] if not call.begun]

    def _begin(self, index: int | None, item: Mapping[str, Any]) -> None:
        if len(self._calls) == MOST_STREAMED_CALLS:
            raise ValueError(f"more than {MOST_STREAMED_CALLS} tool calls")
        id = as_id(item.get("call_id") or item.get("id")) or f"call_{uuid4().hex[:24]}"
        self._calls.append(_Call(len(self._calls), index, item, id, as_text(item.get("name") or "")))

    def _find(self, output_index: int | None, item_id: Any) -> _Call | None:
        """Return the call of a piece: by its index, by its id, or the last call if the piece has neither."""
        if output_index is not None and any(call.output_index is not None for call in self._calls):
            return next((call for call in self._calls if call.output_index == output_index), None)
        if item_id:
            ids = ((call, (call.id, call.item.get("id"))) for call in self._calls)
            return next((call for call, known in ids if item_id in known), None)
        return self._calls[-1] if self._calls else None


def _rest(call: _Call, item: Mapping[str, Any]) -> list[ToolCallDelta]:
    if (item.get("name") or "") != call.name:
        raise ValueError("the name of a call changes")
    return call.rest(as_text(item.get("arguments") or ""))
