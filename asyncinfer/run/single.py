"""One conversation, answered without a run: the engine's permits, pace, limits and retries, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from asyncinfer.control.run_end import FailurePattern
from asyncinfer.errors import EngineConfigError, EngineDeadError, RequestError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.clock import wait_until
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion


@dataclass(slots=True)
class _Call:
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
        permit = gate.enter_at_once(cost) or await gate.enter(cost)
        try:
            return await attempts.make(answerer, permit, call, lambda: conversation, name=id(call))
        except RequestError as error:
            retry = attempts.retry(answerer, call, error)
            if pattern is None:
                pattern = FailurePattern(answerer.endpoint, answerer.retry.max_wait, answerer.retry.max_outage)
            end = pattern.failed(
                error,
                is_final=retry.kind == "no",
                # An outage may have begun in an earlier call and have ended since.
                out_for=min(gate.out_for(), clock.now() - began),
                ever_answered=gate.admissions > 0,
                is_only_row=True,
            )
            if end is not None:
                kind = EngineConfigError if end.is_config else EngineDeadError
                raise kind(end.message, error_type=error.error_type, status_code=error.status_code) from error
            if retry.kind == "no":
                raise
        await wait_until(anyio.Event(), clock, clock.now() + retry.after)
