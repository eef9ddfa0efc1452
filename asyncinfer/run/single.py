"""One conversation, answered without a run: the engine's permits, pace, limits and retries, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from asyncinfer.control.run_end import FailurePattern
from asyncinfer.errors import RequestError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.clock import wait_until
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion


@dataclass(slots=True)
class _Call:
    """The state of one call, as `Attempted` describes it."""

    attempts: int = 0
    spent: int = 0
    is_suspect: bool = False
    admissions: int = 0


async def answer(answerer: Answerer, attempts: Attempts, conversation: Conversation) -> Completion:
    """Ask until the engine answers, or no retry is left.

    Raises:
        RequestError: The last attempt failed, and no other follows.
        EngineDeadError: No conversation can be answered: the key, the account or the model is wrong, a quota is used
            up for longer than `max_wait`, or nothing was answered for `max_outage`.
    """
    gate, clock, call = answerer.gate, answerer.clock, _Call()
    cost = answerer.cost(lambda: conversation)
    pattern: FailurePattern | None = None
    began = clock.now()
    while True:
        permit = gate.enter_at_once(cost) or await gate.enter(lambda: cost)
        try:
            return await attempts.make(answerer, permit, call, lambda: conversation, name=id(call))
        except RequestError as error:
            retry = attempts.retry(answerer, call, error)
            pattern = pattern or answerer.failure_pattern()
            end = pattern.failed(
                error,
                is_final=retry.kind == "no",
                # An outage may have begun in an earlier call and have ended since.
                out_for=min(gate.out_for(), clock.now() - began),
                ever_answered=gate.admissions > 0,
                is_only_row=True,
            )
            if end is not None:
                raise end.error(error) from error
            if retry.kind == "no":
                raise
        await wait_until(anyio.Event(), clock, clock.now() + retry.after)
