"""Saves answers and hands out the outcomes of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.answer_json import answer_json, conversation_json
from asyncinfer.run.events import Events, Latency, RowFailed, RowFinished, RowResumed
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import RejectedRow, Row, SavedRow
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.writer import ScratchWriter
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason, finish_reason_of
from asyncinfer.types.results import FailureDetail, failure_of
from asyncinfer.types.usage import Usage

RowOutcome = Conversation | FailureDetail
DeliverOutcome = Callable[[int, RowOutcome], None]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    """An answered row. `latency` is None if an earlier run answered it. `finished` is None if nobody wants it."""

    index: int
    usage: Usage | None
    latency: Latency | None
    finished: Conversation | None
    finish_reason: FinishReason = FinishReason.UNKNOWN
    endpoint: str | None = None


class ResultSaver:
    """Makes answers durable, and then delivers them.

    Args:
        scratch: Where answers are saved; None if they are not.
        deliver: Called on the loop with the outcome of each row, once it is durable or has failed.
        close: Called when a row has its outcome.
        die: Called when no other row can be answered.
    """

    def __init__(
        self,
        statuses: RowStatusTable,
        events: Events,
        scratch: ScratchFile | None,
        deliver: DeliverOutcome | None,
        *,
        close: Callable[[], None],
        die: Callable[[EngineDeadError], None],
    ) -> None:
        self._statuses, self._events, self._deliver = statuses, events, deliver
        self._close, self._die = close, die
        self.writer = ScratchWriter[_Answer](scratch, self._saved) if scratch is not None else None

    async def answered(self, row: Row, completion: Completion, latency: Latency) -> None:
        if self.writer is None:
            finished = row.finished(completion) if self._deliver is not None else None
            self._done(_answer(row, completion, latency, finished))
            return
        try:
            if row.is_large:
                text, finished = await _in_a_thread(answer_json, row, completion)
            else:
                text, finished = answer_json(row, completion)
        except RequestError as error:  # The answer cannot be saved as JSON.
            self.failed(row, failure_of(error))
            return
        # Without `deliver` the conversation is freed here: it may have to wait for the disk.
        wanted = finished if self._deliver is not None else None
        answer = _answer(row, completion, latency, wanted)
        self.writer.put(answer, encode(row.key, row.n, row.checksum, text))

    async def resumed(self, saved: SavedRow) -> None:
        """The row was answered by an earlier run. It is saved again if its saved line is of another input or file."""
        row, finished = saved
        answer = _Answer(row.index, None, None, finished, finish_reason_of(finished))
        if self.writer is None or not self._statuses.must_save_again(row.index):
            self._done(answer)
            return
        try:
            if row.is_large:
                text = await _in_a_thread(conversation_json, finished)
            else:
                text = conversation_json(finished)
        except RequestError as error:
            self.failed(row, failure_of(error))
            return
        self.writer.put(answer, encode(row.key, row.n, row.checksum, text))

    def rejected(self, row: RejectedRow) -> None:
        """The row cannot be used."""
        self._fail(row.index, failure_of(row.error))

    def failed(self, row: Row, failure: FailureDetail, usage: Usage | None = None) -> None:
        self._fail(row.index, failure, usage)

    def ended_early(self, error: EngineDeadError) -> None:
        self._die(error)

    def _saved(self, answer: _Answer, offset: int, length: int) -> None:
        self._statuses.save(answer.index, offset, length)
        self._done(answer)

    def _done(self, answer: _Answer) -> None:
        if answer.latency is None:
            self._events.emit(RowResumed(answer.index, answer.finish_reason))
        else:
            self._events.emit(
                RowFinished(answer.index, answer.usage, answer.latency, answer.finish_reason, answer.endpoint)
            )
        if self._deliver is not None and answer.finished is not None:
            self._deliver(answer.index, answer.finished)
        self._close()

    def _fail(self, index: int, failure: FailureDetail, usage: Usage | None = None) -> None:
        self._statuses.fail(index)
        self._events.emit(RowFailed(index, failure, usage))
        if self._deliver is not None:
            self._deliver(index, failure)
        self._close()


def _answer(row: Row, completion: Completion, latency: Latency, finished: Conversation | None) -> _Answer:
    return _Answer(row.index, completion.usage, latency, finished, completion.finish_reason, completion.endpoint)


async def _in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that takes long in a thread. An answer is not lost if the run is cancelled meanwhile."""
    with anyio.CancelScope(shield=True):
        return await DISK.run(function, *args, **kwargs)
    raise AssertionError("a shielded scope is not cancelled")
