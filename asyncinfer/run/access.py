"""Access of one call to its engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncinfer.aio.clock import Clock
from asyncinfer.config import GenerationParams
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Alternative
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand, estimated_demand
from asyncinfer.control.retry import Retry, RetryPolicy
from asyncinfer.control.run_end import FailurePattern, RunEnd
from asyncinfer.errors import RequestError
from asyncinfer.run.answer_check import AnswerCheck
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.pricing import Pricing
from asyncinfer.run.row_access import RowAccess
from asyncinfer.run.semaphore import AdaptiveSemaphore
from asyncinfer.run.tracing import CallTracing
from asyncinfer.types.conversation import Conversation


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """A bound engine, and the permits, retry policy and clock for its attempts.

    Attributes:
        display_name: The name of the engine in messages.
        dropped: The parameters that were set, but that the engine or the model does not support, in order.
        check: Checks each answer before it counts as a success; None if every answer is one.
        rows: Knows the settings of rows that have their own; None if rows cannot have any.
        tracing: Traces the calls; None by default.
        pricing: The prices of the answers; None if they cost nothing.
    """

    engine: BoundEngine
    settings: CallSettings
    semaphore: AdaptiveSemaphore
    retry: RetryPolicy
    clock: Clock
    display_name: str = "the engine"
    dropped: tuple[str, ...] = ()
    check: AnswerCheck | None = None
    rows: RowAccess | None = field(default=None, repr=False)
    tracing: CallTracing | None = None
    pricing: Pricing | None = None

    def of(self, conversation: Conversation) -> EngineAccess:
        """How a conversation reaches the engine: with its own settings, if it has any.

        Raises:
            RowSettingsError: Its settings are wrong.
            ConfigError: The engine does not support them.
        """
        return self.rows.access(conversation) if self.rows is not None and conversation.has_settings else self

    def as_sent(self, conversation: Conversation) -> Conversation | None:
        """The conversation as a request with `settings` contains it; None if its request needs other settings."""
        return None if self.rows is not None and conversation.has_settings else self.engine.as_sent(conversation)

    def restored(self, conversation: Conversation) -> Conversation:
        """Add what is not saved, such as the parsed answer, to a conversation with a saved answer. Blocks.

        Raises:
            ValueError: The answer cannot be used.
            RequestError: It cannot be validated. Another answer would not help.
        """
        check = self.of(conversation).check
        return conversation if check is None else check.restored(conversation)

    def demand(self, conversation: Callable[[], Conversation]) -> Demand:
        """The limits that an attempt uses. The conversation is needed only if tokens are limited."""
        if not self.semaphore.counts_tokens:
            return ONE_REQUEST
        asked = conversation()
        return estimated_demand(asked, self.generation_of(asked))

    def generation_of(self, conversation: Conversation) -> GenerationParams:
        """The generation parameters in effect for a conversation, which may have some of its own."""
        if self.rows is None or not conversation.has_settings:
            return self.settings.generation
        return self.rows.settings(conversation).generation

    def failure_pattern(self) -> FailurePattern:
        """A new failure pattern, which counts the failures of one run or call."""
        return FailurePattern(self.display_name, self.retry.max_wait, self.retry.max_outage)

    def run_end(
        self,
        pattern: FailurePattern,
        permit: Permit,
        error: RequestError,
        retry: Retry,
        *,
        began: float,
        is_only_row: bool,
    ) -> RunEnd | None:
        """Why a run or call ends after a failed attempt; None if it goes on.

        Args:
            began: When the run began. An outage may have begun before, and have ended since: only this run's time
                counts.
        """
        semaphore = self.semaphore
        end = pattern.failed(
            error,
            is_final=retry.is_final,
            out_for=min(semaphore.out_for(), self.clock.now() - began),
            ever_answered=semaphore.answers > 0,
            is_only_row=is_only_row,
            is_elsewhere=semaphore.alternative(permit.endpoint) is not Alternative.NONE,
        )
        problems = semaphore.problems()
        if end is None or not problems:
            return end
        details = "; ".join(f"{name}: {problem or 'in use'}" for name, problem in problems.items())
        return end._replace(message=f"{end.message}. All endpoints: {details}")
