"""Assembles the tool calls of a stream from their pieces.

OpenAI sends the `index` of a call in each piece, and its `id` and `name` in the first one. Other servers differ, and a
piece that is added to the wrong call makes that call wrong. These cases were reported, and are handled:

- every call has index 0, with its own id (Ollama, ollama/ollama#15457) or without an id (converters of Gemini's
  answers), or has no index (older Ollama, ollama/ollama#7881);
- the id is "" after the first piece (lmdeploy), is repeated in every piece (SGLang, spring-ai#5974), or differs in
  every piece (vLLM before 0.10, Poolside);
- the arguments begin with "{}", and the real ones follow (Bedrock and Anthropic behind converters, litellm#4537).

Two lists of rules decide: `_candidates` finds the calls that a piece may belong to, and `_action` what the piece does
to its call. A piece that may belong to either of two calls fails the attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.call_order import CallOrder
from asyncinfer.dialects.call_pieces import MOST_STREAMED_CALLS, CallPiece, StreamedCall
from asyncinfer.dialects.tools import tool_call
from asyncinfer.types.stream import StreamDelta, ToolCallDelta
from asyncinfer.types.tools import ToolCall


class _Action(Enum):
    """The effect of a piece on the call that it was found to belong to."""

    APPEND = "append the piece"
    REPLACE = "replace the placeholder for the arguments"
    IGNORE_ARGUMENTS = "append the piece without its arguments, which repeat those of the call"
    NEW_CALL = "begin a new call"
    NEW_CALL_SAME_NAME = "begin a new call with the same name"


class CallAssembler:
    """The calls of one streamed answer. `next_event` must be called before the pieces of each event.

    Args:
        no_arguments: The arguments of a call for which no piece has arguments.
        counts_all_parts: The indices count all parts of the answer. Otherwise, they count only its calls.
    """

    def __init__(self, no_arguments: str = "", *, counts_all_parts: bool = False) -> None:
        self._no_arguments = no_arguments
        self._order = CallOrder(counts_all_parts=counts_all_parts)
        self._calls: list[StreamedCall] = []
        self._open: list[StreamedCall] = []  # The calls that may get more pieces.
        self._event = 0

    def next_event(self) -> None:
        self._event += 1

    def add(self, piece: CallPiece, extra: Mapping[str, Any] | None = None) -> ToolCallDelta | None:
        """Add a piece to the call that it belongs to, or begin a call with it.

        Args:
            extra: Further fields of the call.

        Returns:
            The part of the call that can be passed on; None if there is none. The last deltas have the rest.

        Raises:
            ValueError: The piece may belong to more than one call.
        """
        candidates = self._candidates(piece)
        call = self._apply(piece, _only(candidates)) if candidates is not None else self._begin(piece)
        if extra:
            call.extra.update(extra)
        return self._order.next_delta(call, self._calls)

    def delta(self, piece: CallPiece) -> StreamDelta | None:
        """Add a piece as `add` does, and return the part of the call that can be passed on as a delta of the stream."""
        passed_on = self.add(piece)
        return StreamDelta(tool_call_deltas=(passed_on,)) if passed_on else None

    def close(self, index: int | None) -> None:
        """Mark the calls with this index as complete. They get no more pieces."""
        self._open = [call for call in self._open if call.index != index]

    def completed_calls(self, *, cut: bool) -> list[ToolCall]:
        """Return the calls in their order; see `CallOrder.distinct`.

        Args:
            cut: Whether the answer was cut off, so that the arguments of the last call may be cut off too.

        Raises:
            ValueError: A call has no name; the arguments of two calls may be mixed up, because they are not JSON and
                the call of a piece was guessed; or a call may only repeat the name of another.
        """
        for call in self._calls:
            same_index = [other for other in self._calls if other.index == call.index]
            if (len(same_index) > 1 or call.guessed) and not (cut and call is self._calls[-1]):
                _check(call.arguments)
            if not call.id and not call.has_arguments and any(_may_repeat(call, other) for other in same_index):
                raise ValueError("the name of a call comes twice, without arguments")
        return [self._completed(call) for call in self._order.distinct(self._calls)]

    def last_deltas(self, calls: Sequence[ToolCall]) -> tuple[ToolCallDelta, ...]:
        """Return the parts of the calls that `add` has not returned.

        Args:
            calls: The calls that `completed_calls` returned. Calls at the end may be left out.
        """
        return self._order.last_deltas(self._order.distinct(self._calls), calls)

    def _completed(self, call: StreamedCall) -> ToolCall:
        arguments = self._no_arguments if call.arguments.strip() in ("", "null") else call.arguments
        return tool_call({"id": call.id, "function": {"name": call.name, "arguments": arguments}, **call.extra})

    def _begin(self, piece: CallPiece) -> StreamedCall:
        if len(self._calls) == MOST_STREAMED_CALLS:
            raise ValueError(f"more than {MOST_STREAMED_CALLS} tool calls")
        call = StreamedCall(None, self._event)
        self._calls.append(call)
        self._open.append(call)
        call.add(piece)
        return call

    def _apply(self, piece: CallPiece, call: StreamedCall) -> StreamedCall:
        """Add a piece to `call`, or to a new call. Returns the call that it was added to."""
        action = _action(piece, call)
        repeats_name = _repeats_name(piece, call)
        if not _differs(piece.name, call.name):
            call.guessed = call.guessed or repeats_name or (piece.index is None and not piece.id)
            call.renamed = call.renamed or (repeats_name and call.is_complete and not piece.arguments.strip())
        match action:
            case _Action.NEW_CALL:
                return self._begin(piece)
            case _Action.NEW_CALL_SAME_NAME:
                return self._begin(replace(piece, name=call.name))
            case _Action.REPLACE:
                call.clear()
            case _Action.IGNORE_ARGUMENTS:
                piece = replace(piece, arguments="")
            case _Action.APPEND:
                pass
        call.add(piece)
        return call

    def _candidates(self, piece: CallPiece) -> list[StreamedCall] | None:
        """Return the open calls that a piece may belong to, by the first rule that applies; None for a new call.

        If the list does not have exactly one call, the piece cannot be assigned.
        """
        same_id = [call for call in self._open if piece.id and call.id == piece.id]
        same_index = [call for call in self._open if piece.index is not None and call.index == piece.index]
        last_of_index = same_index[-1] if same_index else None
        has_arguments = bool(piece.arguments.strip())

        # The id, with an index that does not contradict it.
        if matches := [call for call in same_id if None in (piece.index, call.index) or call.index == piece.index]:
            return matches[-1:]
        # The id, with another index.
        if same_id and not piece.name:
            return same_id if last_of_index is None else []
        # A new id with a name begins a call, unless it belongs to a call that has no id yet.
        if piece.id and piece.name and (last_of_index is None or last_of_index.id):
            return None
        # The index.
        if last_of_index is not None:
            return [*_incomplete(same_index[:-1]), last_of_index] if has_arguments else [last_of_index]
        if piece.index is not None:
            without_index = _incomplete(call for call in self._open if call.index is None)
            return without_index if without_index and not piece.name else None
        # The order.
        if not self._open:
            return None
        last = self._open[-1]
        if piece.name:
            return self._candidates_by_name(piece, last)
        if piece.id:
            return self._open
        same_event = _incomplete(call for call in self._open[:-1] if call.event == last.event)
        return [*same_event, last] if has_arguments else [last]

    def _candidates_by_name(self, piece: CallPiece, last: StreamedCall) -> list[StreamedCall] | None:
        """Return the calls that a piece with a name, but without index and id, may belong to; None for a new call.

        Usually, a name begins a new call.

        Raises:
            ValueError: The piece has no arguments, and a call with this name already has some.
        """
        has_arguments = bool(piece.arguments.strip())
        if not has_arguments and any(call.has_arguments for call in self._open if call.name == piece.name):
            raise ValueError("the name of a call comes twice, without arguments")
        unnumbered = _incomplete(call for call in self._open if call.index is None and not call.id)
        same_name = [call for call in unnumbered if call.name == piece.name]
        if same_name and (same_name != [last] or has_arguments):
            return same_name if last in same_name else [*same_name, last]
        return None


def _action(piece: CallPiece, call: StreamedCall) -> _Action:
    """Return the effect of a piece on its call, by the first rule that applies.

    Raises:
        ValueError: No rule applies, because the piece contradicts the call.
    """
    # Another name.
    if _differs(piece.name, call.name):
        if _same_id(piece, call) or not call.is_complete:
            raise ValueError("the name of a call changes")
        return _Action.NEW_CALL
    # No arguments to add.
    if not piece.arguments.strip():
        return _Action.APPEND
    # The arguments of the call are incomplete.
    repeats_name = _repeats_name(piece, call)
    if not call.is_complete and not call.has_placeholder:
        if repeats_name and call.index is None and not call.has_arguments:
            raise ValueError("a call has no arguments, or its name comes twice")
        return _Action.APPEND
    # The arguments of the call are complete, and more arguments follow.
    if call.has_placeholder and not repeats_name and not call.renamed:
        return _Action.REPLACE
    same_arguments = call.arguments.strip() == piece.arguments.strip()
    if repeats_name and not call.has_placeholder and (call.index is None or not same_arguments):
        return _Action.NEW_CALL
    if call.renamed and not call.has_placeholder and not piece.name:
        return _Action.NEW_CALL_SAME_NAME
    if same_arguments and not repeats_name:
        return _Action.IGNORE_ARGUMENTS
    raise ValueError("more arguments follow after the end of the arguments")


def _same_id(piece: CallPiece, call: StreamedCall) -> bool:
    return bool(call.id) and piece.id == call.id


def _differs(name: str, other: str) -> bool:
    """Whether both names are known and differ."""
    return bool(name) and bool(other) and name != other


def _repeats_name(piece: CallPiece, call: StreamedCall) -> bool:
    """Whether the piece has the name of the call again, but not its id."""
    return bool(piece.name) and piece.name == call.name and not _same_id(piece, call)


def _may_repeat(call: StreamedCall, other: StreamedCall) -> bool:
    """Whether a call without id and arguments may only be the name of another call, sent again."""
    return call is not other and call.name == other.name and other.has_arguments


def _incomplete(calls: Iterable[StreamedCall]) -> list[StreamedCall]:
    return [call for call in calls if not call.is_complete]


def _check(arguments: str) -> None:
    """Raise ValueError unless the arguments are JSON or empty."""
    if arguments.strip():
        from_json(arguments)


def _only(calls: list[StreamedCall]) -> StreamedCall:
    """Return the only call. Raises ValueError if there are several, or none."""
    if len(calls) != 1:
        raise ValueError("a piece may belong to several calls")
    return calls[0]
