"""One conversation, answered without a run: the engine's permits, pace, limits and retries, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from asyncinfer.aio.clock import wait_until
from asyncinfer.control.endpoint import Permit
from asyncinfer.control.run_end import FailurePattern
from asyncinfer.errors import RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.attempts import Attempts
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion, StreamDelta

T = TypeVar("T")


@dataclass(slots=True)
class _CallState:
    """The state of one call, as `Attempted` describes it. `is_final`: a failure ends the call."""

    attempts: int = 0
    spent: int = 0
    is_suspect: bool = False
    admissions: int = 0
    is_final: bool = False


async def generate(access: EngineAccess, attempts: Attempts, conversation: Conversation) -> Completion:
    """Answer `conversation`; retry until the engine answers, or no retry is left.

    Raises:
        RequestError: The last attempt failed, and no other follows.
        EngineDeadError: No conversation can be answered: the key, the account or the model is wrong, a quota is used
            up for longer than `max_wait`, or nothing was answered for `max_outage`.
    """
    call = _CallState()

    def attempt(permit: Permit) -> Awaitable[Completion]:
        return attempts.generate(access, permit, call, lambda: conversation, id(call))

    return await _with_retries(access, attempts, conversation, call, attempt)


async def stream(
    access: EngineAccess, attempts: Attempts, conversation: Conversation, deliver: Callable[[StreamDelta], None]
) -> None:
    """Answer `conversation` in parts; retry until the first part is delivered. Raises as `generate` does."""
    call = _CallState()

    def pass_on(delta: StreamDelta) -> None:
        call.is_final = True
        deliver(delta)

    def attempt(permit: Permit) -> Awaitable[None]:
        return attempts.stream(access, permit, call, conversation, id(call), pass_on)

    await _with_retries(access, attempts, conversation, call, attempt)


async def _with_retries(
    access: EngineAccess,
    attempts: Attempts,
    conversation: Conversation,
    call: _CallState,
    attempt: Callable[[Permit], Awaitable[T]],
) -> T:
    semaphore, clock = access.semaphore, access.clock
    cost = access.cost(lambda: conversation)
    pattern: FailurePattern | None = None
    began = clock.now()
    while True:
        permit = semaphore.acquire_nowait(cost) or await semaphore.acquire(lambda: cost)
        try:
            return await attempt(permit)
        except RequestError as error:
            if call.is_final:
                raise
            retry = attempts.retry(access, call, error)
            pattern = pattern or access.failure_pattern()
            end = pattern.failed(
                error,
                is_final=retry.kind == "no",
                # An outage may have begun in an earlier call and have ended since.
                out_for=min(semaphore.out_for(), clock.now() - began),
                ever_answered=semaphore.admissions > 0,
                is_only_row=True,
            )
            if end is not None:
                raise end.error(error) from error
            if retry.kind == "no":
                raise
        await wait_until(anyio.Event(), clock, clock.now() + retry.after)
