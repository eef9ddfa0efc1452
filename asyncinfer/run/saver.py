"""Saves answers and hands out the outcomes of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.answer_json import answer_json, conversation_json
from asyncinfer.run.duplicates import Duplicates, Outcome, duplicate_completion, with_own_objects
from asyncinfer.run.events import Latency, RowFailed, RowFinished, RowResumed, RowReused
from asyncinfer.run.outcome_sharing import OutcomeSharing
from asyncinfer.run.rows import RejectedRow, Row, SavedRow
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.spent import encode_spent
from asyncinfer.scratch.writer import ScratchWriter
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason, finish_reason_of
from asyncinfer.types.results import FailureDetail, failure_of
from asyncinfer.types.usage import Usage

RowOutcome = Conversation | FailureDetail
DeliverOutcome = Callable[[int, RowOutcome], None]

Reused = Literal["duplicate", "cache"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    """An answered row.

    Attributes:
        latency: None if no request of this run answered it.
        finished: The conversation with the answer; None if nobody wants it.
        reused: Where the answer comes from if it was not requested for this row.
        kept: What the cache keeps once the answer is durable. A run that is killed before that asks again, and so
            counts what the row costs.
    """

    index: int
    usage: Usage | None
    latency: Latency | None
    finished: Conversation | None
    finish_reason: FinishReason = FinishReason.UNKNOWN
    endpoint: str | None = None
    reused: Reused | None = None
    kept: tuple[Row, Completion] | None = None
    response_model: str | None = None
    response_id: str | None = None


class _Failed(NamedTuple):
    """What the failed attempts at an open row used, and the identity of the row."""

    key: bytes
    n: int
    usage: Usage


class ResultSaver:
    """Makes answers durable, and then delivers them.

    Args:
        deliver: Called on the loop with the outcome of each row, once it is durable or has failed.
        duplicates: The duplicates that wait for their originals; None if each row is sent.
        cache: Keeps answers across runs; None if there is none.
        close: Called when a row has its outcome.
        on_engine_dead: Called when no other row can be answered. The arguments are those of `ended_early`.
    """

    def __init__(
        self,
        active: ActiveRun,
        deliver: DeliverOutcome | None,
        duplicates: Duplicates | None = None,
        cache: AnswerCache | None = None,
        *,
        close: Callable[[], None],
        on_engine_dead: Callable[[EngineDeadError, bool], None],
    ) -> None:
        self._statuses, self._events, self._spending = active.statuses, active.events, active.spending
        self._deliver, self._duplicates, self._cache = deliver, duplicates, cache
        self._close, self._on_engine_dead = close, on_engine_dead
        self._failed: dict[int, _Failed] = {}
        self.writer = ScratchWriter[_Answer](active.scratch, self._saved) if active.scratch is not None else None
        self.sharing = OutcomeSharing(self.duplicate) if duplicates is not None else None

    def attempt_failed(self, row: Row, usage: Usage) -> bool:
        """Count what a failed attempt used. Returns whether the limits leave room for another one."""
        failed = self._failed.get(row.index)
        total = usage if failed is None else failed.usage.plus_later(usage)
        self._failed[row.index] = _Failed(row.key, row.n, total)
        return self._spending is None or self._spending.attempt_failed(usage)

    async def answered(self, row: Row, completion: Completion, latency: Latency) -> None:
        if self._spending is not None:
            self._spending.answered(row, completion)
        if self._failed and (failed := self._failed.pop(row.index, None)) is not None:
            completion = replace(completion, usage=failed.usage.plus_later(completion.usage))
        answer = _answer(row, completion, latency)
        answer.kept = (row, completion) if self._cache is not None else None
        if await self._save(row, completion, answer):
            self._share(row, completion)

    async def cached(self, row: Row, completion: Completion) -> None:
        """The cache has the answer to the row."""
        is_kept = await self._save(row, completion, _answer(row, completion, reused="cache"))
        if is_kept:
            self._share(row, completion)

    async def duplicate(self, row: Row, outcome: Outcome) -> None:
        """The row gets the outcome of its original."""
        result, n = outcome
        if isinstance(result, FailureDetail):
            self._fail(row.index, result)
            return
        completion = duplicate_completion(result, row.key, n)
        if self._deliver is not None:  # No two rows share objects that the caller may change.
            completion = with_own_objects(completion)
        await self._save(row, completion, _answer(row, completion, reused="duplicate"))

    async def saved_duplicate(self, saved: SavedRow) -> None:
        """The row gets the saved answer of its original."""
        row, finished = saved
        answer = _Answer(row.index, None, None, finished, finish_reason_of(finished), reused="duplicate")
        await self._save_again(row, finished, answer)

    async def resumed(self, saved: SavedRow) -> None:
        """The answer to the row is saved. It is saved again if the saved line has another row's key, an old id or old
        metadata, or is in the output."""
        row, finished = saved
        answer = _Answer(row.index, None, None, finished, finish_reason_of(finished))
        if self.writer is not None and self._statuses.must_save_again(row.index):
            await self._save_again(row, finished, answer)
        else:
            self._done(answer)

    async def _save_again(self, row: Row, finished: Conversation, answer: _Answer) -> None:
        if self.writer is None:
            self._done(answer)
            return
        try:
            if row.is_large:
                text = await _in_a_thread(conversation_json, finished)
            else:
                text = conversation_json(finished)
        except RequestError as error:
            self._fail(row.index, failure_of(error))
            return
        self.writer.put(answer, encode(row.key, row.n, row.checksum, text))

    def rejected(self, row: RejectedRow) -> None:
        """The row cannot be used."""
        self._fail(row.index, failure_of(row.error))

    def failed(self, row: Row, failure: FailureDetail) -> None:
        self._fail(row.index, failure)
        self._share(row, failure)

    def abandoned(self) -> None:
        """No open row will have an outcome. Save what their attempts used."""
        for failed in self._failed.values():
            self._keep_spent(failed)
        self._failed.clear()

    def ended_early(self, error: EngineDeadError, *, is_conclusion: bool = False) -> None:
        self._on_engine_dead(error, is_conclusion)

    async def _save(self, row: Row, completion: Completion, answer: _Answer) -> bool:
        """Save an answer, and hand it out once it is durable. Returns False if it cannot be saved: the row failed."""
        if self.writer is None:
            answer.finished = row.finished(completion) if self._deliver is not None else None
            self._done(answer)
            return True
        try:
            if row.is_large:
                text, finished = await _in_a_thread(answer_json, row, completion)
            else:
                text, finished = answer_json(row, completion)
        except RequestError as error:  # The answer cannot be saved as JSON.
            self._lose(row, completion)
            self.failed(row, failure_of(error))
            return False
        # Without `deliver` the conversation is freed here: it may have to wait for the disk.
        answer.finished = finished if self._deliver is not None else None
        self.writer.put(answer, encode(row.key, row.n, row.checksum, text))
        return True

    def _share(self, row: Row, result: Completion | FailureDetail) -> None:
        """Give the outcome to the duplicates that wait for it."""
        if self._duplicates is None or self.sharing is None:
            return
        if self._deliver is not None and isinstance(result, Completion):
            result = with_own_objects(result)  # The caller may change the answer before its last duplicate is read.
        self.sharing.add(self._duplicates.release(row, result), Outcome(result, row.n))

    def _saved(self, answer: _Answer, offset: int, length: int) -> None:
        self._statuses.save(answer.index, offset, length)
        self._done(answer)

    def _done(self, answer: _Answer) -> None:
        if self._cache is not None and answer.kept is not None:
            self._cache.keep(*answer.kept)
        if answer.reused is not None:
            self._events.emit(RowReused(answer.index, answer.reused, answer.finish_reason))
        elif answer.latency is None:
            self._events.emit(RowResumed(answer.index, answer.finish_reason))
        else:
            self._events.emit(
                RowFinished(
                    answer.index,
                    answer.usage,
                    answer.latency,
                    answer.finish_reason,
                    answer.endpoint,
                    answer.usage.cost if answer.usage is not None else None,
                    answer.response_model,
                    answer.response_id,
                )
            )
        if self._deliver is not None and answer.finished is not None:
            self._deliver(answer.index, answer.finished)
        self._close()

    def _lose(self, row: Row, completion: Completion) -> None:
        """The answer of a row cannot be saved. What it used belongs to the failure of the row."""
        if completion.usage is not None:
            self._failed[row.index] = _Failed(row.key, row.n, completion.usage)

    def _keep_spent(self, failed: _Failed) -> None:
        """Save what attempts without an answer used, so that it counts in later runs of the job."""
        if self._spending is not None and self.writer is not None:
            self.writer.note(encode_spent(*failed))

    def _fail(self, index: int, failure: FailureDetail) -> None:
        failed = self._failed.pop(index, None)
        if failed is not None:
            self._keep_spent(failed)
        if self._spending is not None:
            self._spending.failed(index)
        self._statuses.fail(index)
        self._events.emit(RowFailed(index, failure, failed.usage if failed is not None else None))
        if self._deliver is not None:
            self._deliver(index, failure)
        self._close()


def _answer(
    row: Row,
    completion: Completion,
    latency: Latency | None = None,
    reused: Reused | None = None,
) -> _Answer:
    usage, reason, metadata = completion.usage, completion.finish_reason, completion.metadata
    answer = _Answer(row.index, usage, latency, None, reason, completion.endpoint, reused)
    if metadata:
        answer.response_model, answer.response_id = metadata.get("response_model"), metadata.get("response_id")
    return answer


async def _in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that takes long in a thread. An answer is not lost if the run is cancelled meanwhile."""
    with anyio.CancelScope(shield=True):
        return await DISK.run(function, *args, **kwargs)
    raise AssertionError("a shielded scope is not cancelled")
