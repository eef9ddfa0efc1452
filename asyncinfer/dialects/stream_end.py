"""Decides when a streamed answer is complete."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.finish_reasons import Finish, ended_well, reason_of, without_cut_call
from asyncinfer.dialects.http import truncated_stream
from asyncinfer.dialects.response_metadata import metadata_of
from asyncinfer.errors import RequestError
from asyncinfer.types.http import malformed_response
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


@dataclass(slots=True)
class StreamEnd:
    """Decides whether a streamed answer is complete.

    A known finish reason completes the answer, unless another part without a reason follows. The end mark of the
    dialect (`[DONE]`, `message_stop`) completes it after any finish reason. If the connection ends without either, the
    answer was cut off.

    Attributes:
        marked: The end mark has arrived.
    """

    finish: Finish | None = None
    marked: bool = False
    _continued: bool = False  # A part of the answer arrived after the reason.
    _reason_comes_last: bool = False  # A part of the answer arrived without a reason.
    _stray: RequestError | None = None  # The error of the first event that was ignored.
    _open: set[Hashable] = field(default_factory=set[Hashable])  # The other choices that are not complete.

    def add_part(self, finish: Finish | None = None) -> None:
        """Record that a part of the answer has arrived, possibly with a finish reason."""
        if finish is None:
            self._continued = self._reason_comes_last = True
        else:
            self.set_finish(finish)

    def set_finish(self, finish: Finish | None) -> None:
        """Record a finish reason. An unknown reason does not replace a known one."""
        if finish is not None and (self.finish is None or finish.is_known or not self.finish.is_known):
            self.finish, self._continued = finish, False

    def set_open(self, choice: Hashable, *, is_open: bool) -> None:
        """Record whether another choice of the same request, after the first one, needs more events."""
        if is_open:
            self._open.add(choice)
        else:
            self._open.discard(choice)

    def mark_end(self) -> None:
        """Record that the end mark has arrived."""
        self.marked = True

    def ignore(self, error: RequestError) -> None:
        """Record an event that is not part of an answer. Its error is raised if the answer does not become complete."""
        self._stray = self._stray or error

    @property
    def is_complete(self) -> bool:
        """Whether the answer is known to be complete. Usage may still follow."""
        if self.finish is None:
            return False
        return self.marked or (self.finish.is_known and not self._continued)

    @property
    def is_settled(self) -> bool:
        """Whether the answer is complete, and only usage and the end mark can follow.

        False for servers that send a reason with every part, because more parts may follow.
        """
        return self.is_complete and (self.marked or (self._reason_comes_last and not self._open))

    def report_error(self, error: RequestError) -> None:
        """Raise an error of the API, unless the answer ended well before it."""
        if not (self.is_settled and ended_well(self.finish)):
            raise error

    def require_finish(self, *, has_mark: bool = True) -> Finish:
        """Return the finish reason of the complete answer.

        Args:
            has_mark: The dialect has an end mark. Without one, the stream may end after any finish reason.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        if self.finish is None or not (self.is_complete or (not has_mark and not self._continued)):
            raise self._stray or truncated_stream("it ended without a finish reason" if self.marked else "")
        return self.finish

    def last_delta(
        self,
        assembler: CallAssembler,
        usage: Usage | None,
        described: Mapping[str, Any] | None = None,
        *,
        content: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> StreamDelta:
        """Return the last delta of the complete answer, with its tool calls.

        Args:
            content: The end of the text.
            described: What the response says about itself; see `response_metadata.description`.
            extra: Further fields of the message, which must be sent back with it.

        Raises:
            RequestError: The stream ended before the answer was complete, or a tool call cannot be read.
        """
        finish = self.require_finish()
        try:
            calls = without_cut_call(finish, assembler.completed_calls(cut=finish.is_cut))
        except ValueError as error:
            raise malformed_response(f"has a tool call that cannot be read ({error})") from None
        reason = reason_of(finish, calls)
        metadata = metadata_of(finish, reason, described)
        return StreamDelta.last(
            calls, reason, usage, content, metadata, call_deltas=assembler.last_deltas(calls), extra=extra
        )
