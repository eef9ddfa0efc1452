"""Attempts at one conversation, each under a permit, and the decision whether another follows."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Protocol

from asyncinfer.control.endpoint import Attempt
from asyncinfer.control.retry import FaultShare, Retry
from asyncinfer.errors import RequestError, UnexpectedCancellationError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.tasks import foreign_code
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion, InferenceErrorType


class Attempted(Protocol):
    """What the attempts at one conversation have shown so far.

    Attributes:
        attempts: How many there were.
        spent: The retries that are used up.
        is_suspect: One failed after others had been answered, so the conversation may be the reason.
        admissions: How many answers the endpoint had given when the latest attempt failed.
    """

    attempts: int
    spent: int
    is_suspect: bool
    admissions: int


class Attempts:
    """Makes attempts for one run, or for the single calls of one engine, and decides whether another follows."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._faults, self._jitter = FaultShare(), jitter

    async def make(
        self,
        answerer: Answerer,
        permit: Attempt,
        row: Attempted,
        conversation: Callable[[], Conversation],
        name: Hashable,
    ) -> Completion:
        """Ask the engine once. The permit is returned whatever happens.

        Args:
            name: Identifies the conversation among those of all runs and calls.

        Raises:
            RequestError: The attempt failed.
            EngineDeadError: The engine can answer no conversation any more.
            Exception: The engine raised something else, or the conversation cannot be read.
        """
        row.attempts += 1
        usage, failure, is_answered = None, None, False
        try:
            with foreign_code("the engine"):
                completion = await answerer.generate(answerer.request(conversation(), permit))
            usage, is_answered = completion.usage, True
        except RequestError as error:
            failure = error
            raise
        except UnexpectedCancellationError:
            what = "the engine cancelled this row"
            failure = RequestError(what, error_type=InferenceErrorType.CANCELLED, is_retryable=True)
            raise failure from None
        finally:
            row.is_suspect |= row.attempts > 1 and answerer.gate.admissions > row.admissions
            answerer.gate.leave(
                permit,
                answered=is_answered,
                usage=usage,
                error=failure,
                row=name,
                is_suspect=row.is_suspect,
            )
            if row.attempts == 1:
                self._faults.add(is_fault=failure is not None and failure.is_retryable and not failure.is_overload)
            failure = None  # Its traceback refers to this frame: break the reference cycle.
        if answerer.dropped:
            completion.metadata = {**(completion.metadata or {}), "dropped_parameters": [*answerer.dropped]}
        return completion

    def retry(self, answerer: Answerer, row: Attempted, error: RequestError) -> Retry:
        """Whether, and when, to try again after `error`."""
        admissions = answerer.gate.admissions
        retry = answerer.retry.decide(
            error,
            spent=row.spent,
            attempts=row.attempts,
            answered_since=admissions > row.admissions,
            is_suspect=row.is_suspect,
            health=answerer.gate.health(),
            fault_share=self._faults.share,
            jitter=self._jitter(),
        )
        row.admissions = admissions
        row.spent += retry.spends
        return retry
