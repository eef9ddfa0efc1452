"""An engine with the settings that are in effect for one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.control.endpoint import Attempt
from asyncinfer.control.rate_limit import FREE, Cost, estimate
from asyncinfer.control.retry import RetryPolicy
from asyncinfer.control.run_end import FailurePattern
from asyncinfer.run.clock import Clock
from asyncinfer.run.gate import Gate
from asyncinfer.run.request import Request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Completion


@dataclass(frozen=True)
class Answerer:
    """What a run needs from an engine: an answer to one request, under the engine's gate and retry policy, and
    the settings in effect. `dropped`: the parameters that the engine does not support. `endpoint`: the name of the
    engine in messages.
    """

    generate: Callable[[Request], Awaitable[Completion]]
    gate: Gate
    retry: RetryPolicy
    clock: Clock
    model: ModelParams
    generation: GenerationParams
    prepared: Any = None
    dropped: tuple[str, ...] = ()
    endpoint: str = "the engine"

    def request(self, conversation: Conversation, attempt: Attempt, *, stream: bool = False) -> Request:
        """What the engine is asked, under the permit `attempt`."""
        return Request(conversation, self.generation, self.model, self.prepared, attempt, stream)

    def failure_pattern(self) -> FailurePattern:
        """What watches the failures of one run or call."""
        return FailurePattern(self.endpoint, self.retry.max_wait, self.retry.max_outage)

    def cost(self, conversation: Callable[[], Conversation]) -> Cost:
        """What a request will take of the endpoint's limits, as far as they count."""
        return estimate(conversation(), self.generation) if self.gate.counts_tokens else FREE
