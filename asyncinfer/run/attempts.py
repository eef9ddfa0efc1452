"""Attempts at one conversation, each under a permit, and the decision whether another follows."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from asyncinfer.aio.tasks import foreign_code
from asyncinfer.control.moves import Moves
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Alternative
from asyncinfer.control.retry import NO_RETRY, FaultShare, Retry
from asyncinfer.errors import InferenceErrorType, RequestError, UnexpectedCancellationError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.bound_engine import ObservedLimits
from asyncinfer.run.pricing import Pricing, model_of
from asyncinfer.run.semaphore import AdaptiveSemaphore
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.correction import Correction
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message
from asyncinfer.types.run_errors import InvalidAnswerError
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


@dataclass(slots=True, eq=False)
class AttemptState:
    """What the attempts at one conversation have shown so far.

    Attributes:
        attempts: How many there were.
        spent: The retries that are used up.
        is_suspect: An attempt failed although other rows were answered, so the conversation may be the reason.
        endpoint: The endpoint that got the latest attempt.
        answers_seen: How many answers it had given when that attempt failed.
        moves: How the conversation was sent to other endpoints because one had failed; None if that never happened.
        correction: What the model is told about its rejected answers; None if none was rejected.
    """

    attempts: int = 0
    spent: int = 0
    is_suspect: bool = False
    endpoint: int = 0
    answers_seen: int = 0
    moves: Moves | None = None
    correction: Correction | None = None


# A row that fails at one endpoint after the other may be the reason why they are down. Per endpoint, it is sent on this
# often.
_MOVES = 6


class Attempts:
    """Makes attempts for one run, or for the single calls of one engine, and decides whether another follows."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._faults, self._jitter = FaultShare(), jitter

    async def generate(
        self,
        access: EngineAccess,
        permit: Permit,
        row: AttemptState,
        conversation: Callable[[], Conversation],
        row_id: Hashable,
    ) -> Completion:
        """Make one attempt. The permit is released whatever happens.

        Args:
            row_id: Identifies the conversation among those of all runs and calls.

        Raises:
            InvalidAnswerError: The answer does not pass `access.check`. The attempt itself counts as a success.
            RequestError: The attempt failed.
            EngineDeadError: The engine can answer no conversation any more.
            Exception: The engine raised something else, or the conversation cannot be read.
        """
        answer, failure, asked, semaphore = None, None, None, access.semaphore
        name = semaphore.names[permit.endpoint]
        try:
            asked = conversation()
            if asked.generation is not None or asked.model_name is not None:
                access = access.of(asked)
            engine = access.engine.at(permit.endpoint)
            if row.correction is not None:
                asked = row.correction.applied_to(asked)
            if semaphore.size == 1:
                with foreign_code("the engine", may_exit=False):
                    completion = await engine.generate(asked)
            else:
                with _unless_stalled(semaphore, permit), foreign_code("the engine", may_exit=False):
                    completion = await engine.generate(asked)
            answer = _checked(completion)
        except RequestError as error:
            failure = error
            error.usage = _priced(access.pricing, name, asked, error.usage)
            raise
        except UnexpectedCancellationError:
            failure = _cancelled_by_the_engine()
            raise failure from None
        finally:
            self._end(access, permit, row, row_id, answer, failure)
            failure = None  # Its traceback refers to this frame: break the reference cycle.
        if access.pricing is not None:
            completion.usage = _priced(access.pricing, name, asked, completion.usage, completion.metadata)
        if access.check is not None:
            completion = await access.check(completion, row.correction)
        if access.dropped or engine.dropped_parameters:
            dropped = sorted({*access.dropped, *engine.dropped_parameters})
            completion.metadata = {**(completion.metadata or {}), "dropped_parameters": dropped}
        completion.endpoint = name
        return completion

    async def stream(
        self,
        access: EngineAccess,
        permit: Permit,
        row: AttemptState,
        conversation: Conversation,
        row_id: Hashable,
        deliver: Callable[[StreamDelta], None],
    ) -> None:
        """Make one attempt, and deliver the answer in parts. The permit is released whatever happens.

        Raises:
            UnexpectedCancellationError: The engine raised CancelledError by itself.
            Exception: As in `generate`.
        """
        last, failure, semaphore = StreamDelta(), None, access.semaphore
        priced = partial(_priced, access.pricing, semaphore.names[permit.endpoint], conversation)
        try:
            with _unless_stalled(semaphore, permit) as part_arrived, foreign_code("the engine", may_exit=False):
                async for part in access.engine.at(permit.endpoint).stream(conversation):
                    if isinstance(part, ObservedLimits):
                        semaphore.observe_limits(permit, part.limits)
                        continue
                    last = _checked_delta(part)
                    usage = last.usage
                    if usage is not None and (with_cost := priced(usage, last.metadata)) is not usage:
                        last = replace(last, usage=with_cost)
                    if part_arrived is not None:
                        await part_arrived()
                    deliver(last)
        except RequestError as error:
            failure = error
            error.usage = priced(error.usage)
            raise
        except UnexpectedCancellationError:
            failure = _cancelled_by_the_engine()
            raise
        finally:
            self._end(access, permit, row, row_id, last if last.finish_reason is not None else None, failure)
            failure = None  # Its traceback refers to this frame: break the reference cycle.

    def _end(
        self,
        access: EngineAccess,
        permit: Permit,
        row: AttemptState,
        row_id: Hashable,
        answer: Completion | StreamDelta | None,
        failure: RequestError | None,
    ) -> None:
        """Release the permit, and count the attempt."""
        semaphore = access.semaphore
        row.attempts += 1
        if row.attempts == 1:
            self._faults.add(is_fault=failure is not None and failure.is_retryable and not failure.is_overload)
        elif permit.endpoint == row.endpoint and semaphore.answers_of(permit.endpoint) > row.answers_seen:
            row.is_suspect = True
        limits = failure.limits if failure is not None else answer.limits if isinstance(answer, Completion) else None
        if limits:
            semaphore.observe_limits(permit, limits)
        semaphore.release(
            permit,
            answered=answer is not None,
            usage=answer.usage if answer is not None else None,
            error=failure,
            row=row_id,
            is_suspect=row.is_suspect,
        )

    def retry(self, access: EngineAccess, permit: Permit, row: AttemptState, error: RequestError) -> Retry:
        """Whether, and when, to try again after `error`."""
        if isinstance(error, InvalidAnswerError):
            return _after_rejection(row, error)
        semaphore, endpoint = access.semaphore, permit.endpoint
        if row.moves is not None:
            row.spent += row.moves.settle(semaphore.answers_of)
        answers, jitter = semaphore.answers_of(endpoint), self._jitter()
        retry = access.retry.decide(
            error,
            spent=row.spent,
            attempts=row.attempts,
            answered_since=endpoint != row.endpoint or answers > row.answers_seen,
            is_suspect=row.is_suspect,
            health=semaphore.health(endpoint),
            fault_share=self._faults.share,
            jitter=jitter,
        )
        if semaphore.size > 1:
            row.moves = moves = row.moves or Moves(semaphore.size)
            if moves.count < _MOVES * semaphore.size:
                retry = self._elsewhere(access, endpoint, row.spent, moves, error, retry, jitter)
        row.endpoint, row.answers_seen = endpoint, answers
        row.spent += retry.spends
        if retry.is_final and row.correction is not None:
            error.args = (f"{row.correction.problem}. The corrected answer was not received: {error}",)
        return retry

    def _elsewhere(
        self,
        access: EngineAccess,
        endpoint: int,
        spent: int,
        moves: Moves,
        error: RequestError,
        alone: Retry,
        jitter: float,
    ) -> Retry:
        """The decision if other endpoints may answer the row. `alone`: the decision if there were no others."""
        semaphore, policy = access.semaphore, access.retry
        alternative, is_down = semaphore.alternative(endpoint), semaphore.is_aside(endpoint)
        retry = policy.elsewhere(
            alone,
            error,
            alternative,
            at_once=moves.count < semaphore.size,
            is_free=is_down or moves.may_leave(spent, policy.max_retries),
            rejects_rows=semaphore.rejects_rows(endpoint),
            jitter=jitter,
        )
        is_refusal = error.is_overload and not alone.is_final
        if alternative is Alternative.NOW and retry is not alone and not retry.is_final and not is_refusal:
            moves.add()
            if not is_down and not retry.spends:
                moves.leave(endpoint, semaphore.answers_of(endpoint))
        return retry


def _after_rejection(row: AttemptState, error: InvalidAnswerError) -> Retry:
    """Ask again at once, if another answer is wanted. That is a new question, with attempts and retries of its own."""
    if error.correction is None:
        return NO_RETRY
    row.correction = error.correction
    row.attempts, row.spent, row.is_suspect, row.moves = 0, 0, False, None
    return Retry(is_final=False, spends=False)


def _priced(
    pricing: Pricing | None,
    endpoint: str | None,
    conversation: Conversation | None,
    usage: Usage | None,
    metadata: Mapping[str, Any] | None = None,
) -> Usage | None:
    """Return the usage of one attempt, with its cost."""
    if pricing is None or usage is None:
        return usage
    return pricing.priced(usage, endpoint, model_of(conversation) if conversation is not None else None, metadata)


@contextmanager
def _unless_stalled(semaphore: AdaptiveSemaphore, permit: Permit) -> Generator[Callable[[], Awaitable[None]] | None]:
    """Give an attempt up if its endpoint stands still while others answer. Does nothing if there is only one endpoint.

    Yields what must be awaited for each part of the answer. After the first part, the attempt is not given up any more.

    Raises:
        RequestError: The endpoint stands still.
    """
    if semaphore.size == 1:
        yield None
        return
    with anyio.CancelScope() as scope:
        call_off = semaphore.call_if_stalled(permit, scope.cancel)

        async def part_arrived() -> None:
            if scope.cancel_called:
                await checkpoint()  # The attempt is given up already: ends the block before the part is delivered.
            call_off()
            semaphore.part_arrived(permit)

        try:
            yield part_arrived
        finally:
            call_off()
    if scope.cancelled_caught:
        raise RequestError(
            "no answer for a long time, while other endpoints answered",
            error_type=InferenceErrorType.TIMEOUT,
            is_retryable=True,
        )


def _cancelled_by_the_engine() -> RequestError:
    return RequestError("the engine cancelled this row", error_type=InferenceErrorType.CANCELLED, is_retryable=True)


def _checked(answer: object) -> Completion:
    """The engine's answer, which may come from code that is not type-checked."""
    if not isinstance(answer, Completion):
        raise TypeError(f"the engine should return a Completion (found {type(answer).__name__})")
    parts: list[object] = [answer.message, answer.finish_reason]
    if not isinstance(parts[0], Message) or not isinstance(parts[1], FinishReason):
        raise TypeError("the engine returned a Completion without a message or a finish reason")
    return answer


def _checked_delta(delta: object) -> StreamDelta:
    if not isinstance(delta, StreamDelta):
        raise TypeError(f"the engine should stream StreamDelta objects (found {type(delta).__name__})")
    return delta
