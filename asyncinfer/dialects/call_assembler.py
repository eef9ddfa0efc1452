"""Assembles the tool calls of a stream from their pieces.

OpenAI names a call by its `index` in each piece, and by `id` and `name` in its first. Servers that speak its format
differ, and a piece that is added to the wrong call is a wrong call. Reported, and handled here:

- every call has index 0, with an id of its own (Ollama, ollama/ollama#15457) or without one (converters of Gemini's
  answers), or has no index (older Ollama, ollama/ollama#7881);
- the id is "" after the first piece (lmdeploy), comes with every piece (SGLang, spring-ai#5974), or is another one
  with every piece (vLLM before 0.10, Poolside);
- the arguments begin with "{}", and the real ones follow (Bedrock and Anthropic behind converters, litellm#4537).

A piece that may belong to either of two calls fails the attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.call_pieces import CallPiece, StreamedCall
from asyncinfer.dialects.tools import tool_call
from asyncinfer.types.tools import ToolCall

# Each piece is compared with all calls. No model makes that many.
_MOST_CALLS = 256


class CallAssembler:
    """The calls of one streamed answer. `next_event` comes before the pieces of each event.

    Args:
        no_arguments: The arguments of a call for which no piece brings any.
    """

    def __init__(self, no_arguments: str = "") -> None:
        self._no_arguments = no_arguments
        self._calls: list[StreamedCall] = []
        self._open: list[StreamedCall] = []  # calls that may get more pieces
        self._event = 0

    def next_event(self) -> None:
        self._event += 1

    def add(self, piece: CallPiece, extra: Mapping[str, Any] | None = None) -> None:
        """Add a piece to the call that it belongs to, or begin a call with it. `extra`: further fields of the call.

        Raises:
            ValueError: the piece may belong to more than one call.
        """
        call = self._call_of(piece)
        if call is not None:
            piece, call = self._fitted(call, piece)
        if call is None:
            call = self._begun()
        call.add(piece)
        if extra:
            call.extra.update(extra)

    def close(self, index: int | None) -> None:
        """Calls with this index get no more pieces."""
        self._open = [call for call in self._open if call.index != index]

    def whole(self, *, cut: bool) -> list[ToolCall]:
        """The calls in the order of their indices; calls without an index follow in the order of arrival. A call that
        came twice under one id is returned once.

        Args:
            cut: The answer was cut off, so that the arguments of a call may be too.

        Raises:
            ValueError: a call has no name, or the arguments of two calls may be mixed up: they are not JSON, and the
                call that a piece belongs to was guessed.
        """
        for call in self._calls:
            alike = [other for other in self._calls if other.index == call.index]
            if (len(alike) > 1 or call.guessed) and not (cut and call is self._calls[-1]):
                _check(call.arguments)
        ordered = sorted(self._calls, key=lambda call: call.index if call.index is not None else len(self._calls))
        distinct = {(call.id or str(number), call.name, call.arguments): call for number, call in enumerate(ordered)}
        return [self._made(call) for call in distinct.values()]

    def _made(self, call: StreamedCall) -> ToolCall:
        arguments = self._no_arguments if call.arguments.strip() in ("", "null") else call.arguments
        return tool_call({"id": call.id, "function": {"name": call.name, "arguments": arguments}, **call.extra})

    def _begun(self) -> StreamedCall:
        if len(self._calls) == _MOST_CALLS:
            raise ValueError(f"more than {_MOST_CALLS} calls")
        call = StreamedCall(None, self._event)
        self._calls.append(call)
        self._open.append(call)
        return call

    def _call_of(self, piece: CallPiece) -> StreamedCall | None:
        """The call that a piece belongs to, by its id, its index or its order; None if it begins a new call."""
        same_id = [call for call in self._open if piece.id and call.id == piece.id]
        near = [call for call in same_id if None in (piece.index, call.index) or piece.index == call.index]
        if near:
            return near[-1]
        same_index = [call for call in self._open if piece.index is not None and call.index == piece.index]
        if same_id and not piece.name:
            return _only(same_id if not same_index else [])
        if piece.id and piece.name and not (same_index and not same_index[-1].id):
            return None
        if piece.index is not None:
            return self._by_index(piece, same_index)
        return self._by_order(piece)

    def _by_index(self, piece: CallPiece, same_index: list[StreamedCall]) -> StreamedCall | None:
        if same_index:
            others = [call for call in same_index[:-1] if not call.is_whole]
            return _only([*others, same_index[-1]]) if piece.arguments.strip() else same_index[-1]
        unplaced = [call for call in self._open if call.index is None and not call.is_whole]
        return _only(unplaced) if unplaced and not piece.name else None

    def _by_order(self, piece: CallPiece) -> StreamedCall | None:
        """The call of a piece without an index and without a known id."""
        if not self._open:
            return None
        last = self._open[-1]
        if piece.name:
            return self._by_name(piece, last)
        if piece.id:
            return _only(self._open)
        together = [call for call in self._open[:-1] if call.event == last.event and not call.is_whole]
        return _only([*together, last]) if piece.arguments.strip() else last

    def _by_name(self, piece: CallPiece, last: StreamedCall) -> StreamedCall | None:
        """The call of a piece that has only a name. Usually, a name begins a new call."""
        unplaced = [call for call in self._open if call.index is None and not call.id and not call.is_whole]
        alike = [call for call in unplaced if call.name == piece.name]
        if not piece.arguments.strip() and any(call.is_begun for call in self._open if call.name == piece.name):
            raise ValueError("the name of a call comes twice, without arguments")
        if alike and (alike != [last] or piece.arguments.strip()):
            return _only([*alike, last] if last not in alike else alike)
        return None

    def _fitted(self, call: StreamedCall, piece: CallPiece) -> tuple[CallPiece, StreamedCall | None]:
        """The piece to add, and the call to add it to: `call`, or None if the piece begins another call with the same
        index.
        """
        arguments = piece.arguments.strip()
        if piece.name and call.name and piece.name != call.name:
            if (call.id and piece.id == call.id) or not call.is_whole:
                raise ValueError("the name of a call changes")
            return piece, None
        named = bool(piece.name and call.name) and not (call.id and piece.id == call.id)
        call.guessed = call.guessed or named or (piece.index is None and not piece.id)
        if not arguments:
            call.renamed = call.renamed or (named and call.is_whole)
            return piece, call
        if not call.is_whole and not call.is_empty:
            if named and call.index is None and not call.is_begun:
                raise ValueError("a call has no arguments, or its name comes twice")
            return piece, call
        return self._after_whole(call, piece, named=named)

    def _after_whole(
        self, call: StreamedCall, piece: CallPiece, *, named: bool
    ) -> tuple[CallPiece, StreamedCall | None]:
        """As `_fitted`, for a piece with arguments that comes after the arguments of `call` were complete."""
        before, after = call.arguments.strip(), piece.arguments.strip()
        if call.is_empty and not named and not call.renamed:
            call.clear()
            return piece, call
        if named and not call.is_empty and (call.index is None or before != after):
            return piece, None
        if call.renamed and not call.is_empty and not piece.name:
            return replace(piece, name=call.name), None
        if before == after and not named:  # a repetition
            return replace(piece, arguments=""), call
        raise ValueError("more arguments follow after the end of the arguments")


def _check(arguments: str) -> None:
    """Raise ValueError unless the arguments are JSON or empty."""
    if arguments.strip():
        from_json(arguments)


def _only(calls: list[StreamedCall]) -> StreamedCall:
    """The only call. Raises ValueError if there are several, or none."""
    if len(calls) != 1:
        raise ValueError("a piece may belong to several calls")
    return calls[0]
