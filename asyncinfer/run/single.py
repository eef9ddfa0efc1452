"""One conversation, answered without a run: the engine's permits, pace, limits and retries, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import anyio

from asyncinfer.aio.clock import wait_until
from asyncinfer.aio.limiters import DISK
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import Demand
from asyncinfer.control.run_end import FailurePattern
from asyncinfer.errors import InputError, RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.attempts import Attempts, AttemptState
from asyncinfer.run.input import InvalidRows
from asyncinfer.run.items import item_of
from asyncinfer.run.row_access import RowSettingsError
from asyncinfer.run.rows import Row
from asyncinfer.run.saver import RowOutcome
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import failure_of
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.times import duration_text
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer")
# The command line shows all of its records to a person who waits for an answer.
retries = logging.getLogger("asyncinfer.retries")

T = TypeVar("T")

# A longer wait is a warning (seconds). Shorter waits before a retry are logged at level info.
_LONG_WAIT = 10.0


@dataclass(slots=True)
class _CallState(AttemptState):
    """The state of one call.

    Attributes:
        is_final: A failure ends the call.
        failed: What the failed attempts used, as far as it is known.
    """

    is_final: bool = False
    failed: Usage | None = None

    def attempt_failed(self, usage: Usage | None) -> None:
        """Add what a failed attempt used."""
        if usage is not None:
            self.failed = usage if self.failed is None else self.failed.plus_later(usage)


async def generate(access: EngineAccess, attempts: Attempts, conversation: Conversation) -> Completion:
    """Answer `conversation`; retry until the engine answers, or no retry is left.

    Raises:
        RequestError: The last attempt failed, and no other follows.
        EngineDeadError: No conversation can be answered: the key, the account or the model is wrong, a quota is used
            up for longer than `max_wait`, or nothing was answered for `max_outage`.
    """
    call = _CallState()

    async def attempt(permit: Permit) -> Completion:
        completion = await attempts.generate(access, permit, call, lambda: conversation, id(call))
        if call.failed is None:
            return completion
        return replace(completion, usage=call.failed.plus_later(completion.usage))

    if access.tracing is None:
        return await _with_retries(access, attempts, conversation, call, attempt)
    with access.tracing.chat(conversation) as trace:
        completion = await _with_retries(access, attempts, conversation, call, attempt)
        trace.answered(completion)
        return completion


async def run_one(access: EngineAccess, attempts: Attempts, keys: RowKeys, conversation: object) -> RowOutcome:
    """Answer one row as a run does that saves nothing.

    Raises:
        InputError: The row is not valid; nothing was sent.
    """
    item = item_of(conversation)
    try:
        key = keys(item.load())
    except RowSettingsError as error:
        return failure_of(RowSettingsError(f"row 0: {error}"))
    except InputError as error:
        problems = InvalidRows("input")
        problems.add(item.line, 0, str(error))
        raise problems.error() from None
    row = Row(0, key, 0, item.checksum, item.size, item)
    try:
        return row.finished(await generate(access, attempts, row.conversation()))
    except Exception as error:
        return failure_of(error)


async def stream(
    access: EngineAccess, attempts: Attempts, conversation: Conversation, deliver: Callable[[StreamDelta], None]
) -> None:
    """Answer `conversation` in parts; retry until the first part is delivered. Raises as `generate` does.

    If there is an `access.check`, the last part is delivered only if the whole answer passes it.

    Raises:
        InvalidAnswerError: The answer does not pass it. No other follows, because its parts were delivered.
    """
    access = access.of(conversation)
    if access.tracing is None:
        await _stream(access, attempts, conversation, deliver)
        return
    with access.tracing.chat(conversation, is_stream=True) as trace:

        def trace_and_deliver(delta: StreamDelta) -> None:
            trace.delta(delta)
            deliver(delta)

        await _stream(access, attempts, conversation, trace_and_deliver)


async def _stream(
    access: EngineAccess, attempts: Attempts, conversation: Conversation, deliver: Callable[[StreamDelta], None]
) -> None:
    call, parts, end = _CallState(), list[StreamDelta](), list[StreamDelta]()

    def pass_on(delta: StreamDelta) -> None:
        call.is_final = True
        if delta.usage is not None and call.failed is not None:
            delta = replace(delta, usage=call.failed.plus_later(delta.usage))
        if access.check is None:
            deliver(delta)
            return
        parts.append(delta)
        if end or delta.finish_reason is not None:
            end.append(delta)
        else:
            deliver(delta)

    def attempt(permit: Permit) -> Awaitable[None]:
        return attempts.stream(access, permit, call, conversation, id(call), pass_on)

    await _with_retries(access, attempts, conversation, call, attempt)
    if access.check is not None:
        answer = await access.check(Completion.from_deltas(parts))
        for delta in end[:-1]:
            deliver(delta)
        deliver(replace(end[-1] if end else StreamDelta(), parsed=answer.parsed))


async def _with_retries(
    access: EngineAccess,
    attempts: Attempts,
    conversation: Conversation,
    call: _CallState,
    attempt: Callable[[Permit], Awaitable[T]],
) -> T:
    semaphore, clock, pricing = access.semaphore, access.clock, access.pricing
    if pricing is not None and not pricing.is_loaded:
        await DISK.run(pricing.load)
    demand = access.demand(lambda: conversation)
    pattern: FailurePattern | None = None
    began = clock.now()
    while True:
        permit = semaphore.acquire_nowait(demand) or await _acquire(access, demand)
        try:
            return await attempt(permit)
        except RequestError as error:
            call.attempt_failed(error.usage)
            error.usage = call.failed
            if call.is_final:
                raise
            retry = attempts.retry(access, permit, call, error)
            pattern = pattern or access.failure_pattern()
            end = access.run_end(pattern, permit, error, retry, began=began, is_only_row=True)
            if end is not None:
                raise end.error(error) from error
            if retry.is_final:
                raise
            level = logging.WARNING if retry.after >= _LONG_WAIT else logging.INFO
            retries.log(level, "%s; the next attempt is made in %s", error, duration_text(retry.after))
        await wait_until(anyio.Event(), clock, clock.now() + retry.after)


async def _acquire(access: EngineAccess, demand: Demand) -> Permit:
    """Wait for a permit. A long wait is logged once, with the reason."""
    semaphore = access.semaphore

    def warn() -> None:
        stop = semaphore.standstill()
        if stop is not None:
            log.warning("A call has waited for %.0f s, because %s", _LONG_WAIT, stop.reason)

    call_off = access.clock.call_later(_LONG_WAIT, warn)
    try:
        return await semaphore.acquire(lambda: demand)
    finally:
        call_off()
