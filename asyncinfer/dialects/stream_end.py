"""Decides when a streamed answer is complete."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.finish_reasons import Finish, metadata_of, reason_of, without_cut_call
from asyncinfer.dialects.http import malformed_response, truncated_stream
from asyncinfer.types.results import StreamDelta, Usage


@dataclass(slots=True)
class StreamEnd:
    """Decides whether a streamed answer is complete.

    A known finish reason completes the answer, unless another part without a reason follows. The end mark of the
    dialect (`[DONE]`, `message_stop`) completes it after any finish reason. If the connection ends without either, the
    answer was cut off.

    `marked`: the end mark has come.
    """

    finish: Finish | None = None
    marked: bool = False
    _continued: bool = False  # part of the answer came after the reason
    _reason_comes_last: bool = False  # part of the answer came without a reason

    def part(self, finish: Finish | None = None) -> None:
        """A part of the answer has come, possibly with a finish reason."""
        if finish is None:
            self._continued = self._reason_comes_last = True
        else:
            self.give(finish)

    def give(self, finish: Finish | None) -> None:
        """A finish reason has come. An unknown reason does not replace a known one."""
        if finish is not None and (self.finish is None or finish.is_known or not self.finish.is_known):
            self.finish, self._continued = finish, False

    def mark(self) -> None:
        """The end mark has come."""
        self.marked = True

    @property
    def is_complete(self) -> bool:
        """Whether the answer is known to be complete. Usage may still follow."""
        if self.finish is None:
            return False
        return self.marked or (self.finish.is_known and not self._continued)

    @property
    def is_settled(self) -> bool:
        """Whether the answer is complete, and nothing but usage and the end mark can follow.

        False for servers that send a reason with every part: more parts may follow a reason of theirs.
        """
        return self.is_complete and (self.marked or self._reason_comes_last)

    def checked(self, *, has_mark: bool = True) -> Finish:
        """The finish reason of the complete answer.

        Args:
            has_mark: The dialect has an end mark. Without one, the stream may end after any finish reason.

        Raises:
            RequestError: the stream ended before the answer was complete.
        """
        if self.finish is None or not (self.is_complete or (not has_mark and not self._continued)):
            raise truncated_stream("it ended without a finish reason" if self.marked else "")
        return self.finish

    def last_delta(self, pieces: CallAssembler, usage: Usage | None) -> StreamDelta:
        """The last delta of the complete answer, with its tool calls.

        Raises:
            RequestError: the stream ended before the answer was complete, or a piece may belong to several calls.
        """
        finish = self.checked()
        try:
            calls = without_cut_call(finish, pieces.whole(cut=finish.is_cut))
        except ValueError as error:
            raise malformed_response(f"holds a tool call that cannot be read ({error})") from None
        return StreamDelta.last(calls, reason_of(finish, calls), usage, metadata=metadata_of(finish))
