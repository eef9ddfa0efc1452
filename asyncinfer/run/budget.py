"""The limits of a job on its cost and its tokens. They count what is in flight at its upper bound.

A row reserves the most that its request may use before an executor gets it. When the row has its outcome, what it used
replaces the reservation. So the limits hold whatever the answers are, as far as the bounds are right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.run.rows import Row
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.costs import usd_text
from asyncinfer.types.usage import Usage

# No tokeniser makes more tokens of a text than it has bytes in UTF-8. The chat template adds tokens to each message,
# and may add a system prompt.
_TOKENS_PER_MESSAGE, _TOKENS_PER_REQUEST = 20, 300
# Estimates, because each API counts images and documents in its own way.
_TOKENS_PER_IMAGE, _TOKENS_PER_DOCUMENT = 3_000, 50_000
# Estimates of the schema of typed answers, and of what the model is told about an answer that does not fit.
_TOKENS_OF_SCHEMA, _TOKENS_OF_CORRECTION = 4_000, 1_000
# The estimate for an answer whose length has no limit.
_UNLIMITED_ANSWER = 8_192
# Two amounts of US dollars that differ by less are the same.
_SLACK = 1e-9


class SpendingLimits(NamedTuple):
    """The limits of a job: US dollars, and tokens of prompts and answers. None: no limit."""

    max_cost: float | None = None
    max_tokens: int | None = None


class Amount(NamedTuple):
    """Tokens, and US dollars."""

    tokens: int = 0
    usd: float = 0.0

    def plus(self, other: Amount) -> Amount:
        """The sum of two amounts."""
        return Amount(self.tokens + other.tokens, self.usd + other.usd)

    def minus(self, other: Amount) -> Amount:
        """The difference of two amounts."""
        return Amount(self.tokens - other.tokens, self.usd - other.usd)


class Bound(NamedTuple):
    """The most tokens of a request: those of the prompt, and those of the answer."""

    prompt_tokens: int
    completion_tokens: int


def token_bound(conversation: Conversation, generation: GenerationParams) -> Bound:
    """The most tokens that a request for this conversation uses. For images and documents, it is an estimate."""
    prompt = _TOKENS_PER_REQUEST
    for message in conversation.messages:
        prompt += _TOKENS_PER_MESSAGE + len(message.compute_flattened_text_content().encode())
        prompt += sum(len(call.model_dump_json()) for call in message.tool_calls or ())
        prompt += len((message.reasoning_content or "").encode())
        if not isinstance(message.content, str | None):
            images = len(message.image_content_items)
            others = sum(item.is_document() for item in message.content)
            prompt += _TOKENS_PER_IMAGE * images + _TOKENS_PER_DOCUMENT * others
    prompt += sum(len(tool.model_dump_json(exclude_none=True).encode()) for tool in conversation.tools or ())
    answer = generation.max_new_tokens or _UNLIMITED_ANSWER
    if generation.guided_decoding is not None or generation.response_model is not None:
        prompt += _TOKENS_OF_SCHEMA
    if generation.response_model is not None:  # An answer that does not fit becomes a part of the next prompt.
        prompt += answer + _TOKENS_OF_CORRECTION
    return Bound(prompt, answer * generation.n)


class Budget:
    """What a job has spent, and what its rows in flight may spend, under its limits.

    Args:
        limits: At least one limit.
        bound: Returns the most that the request for a row uses.

    Attributes:
        spent: What all answers used so far, those of earlier runs included.
        on_reached: Called once when `spent` reaches a limit. That happens only if requests used more than was reserved.
    """

    def __init__(self, limits: SpendingLimits, bound: Callable[[Row], Amount]) -> None:
        self._max_cost, self._max_tokens = limits
        self._bound = bound
        self._reserved: dict[int, Amount] = {}
        self._in_flight = Amount()
        self.spent = Amount()
        self.on_reached: Callable[[], None] | None = None

    @property
    def has_reservations(self) -> bool:
        """Whether rows are in flight, so that there may be more room later."""
        return bool(self._reserved)

    def reserve(self, row: Row) -> bool:
        """Reserve the most that a row may use. Returns whether there is room for it."""
        bound = self._bound(row)
        if not self._fits(self.spent.plus(self._in_flight).plus(bound)):
            return False
        self._reserved[row.index] = bound
        self._in_flight = self._in_flight.plus(bound)
        return True

    def settle(self, index: int, used: Amount | None) -> None:
        """A row has its outcome. `used` replaces its reservation; None: unknown, so that the reservation counts."""
        bound = self._reserved.pop(index, None)
        if bound is not None:
            self._in_flight = self._in_flight.minus(bound) if self._reserved else Amount()
            self.spend(bound if used is None else used)

    def spend(self, used: Amount) -> None:
        """Count what an earlier run or a failed attempt used."""
        self.spent = self.spent.plus(used)
        if self.on_reached is not None and self._is_reached():
            on_reached, self.on_reached = self.on_reached, None
            on_reached()

    def is_within(self) -> bool:
        """Whether everything in flight still fits. False after failed attempts that cost something."""
        return self._fits(self.spent.plus(self._in_flight))

    def why(self, row: Row) -> str:
        """Why there is no room for a row, for the message that ends the run."""
        most = self._text(self._bound(row))
        return (
            f"{self._spent_text()}, and the next request may use up to {most} (a bound: its prompt in bytes, and "
            "generation.max_new_tokens)"
        )

    def why_reached(self) -> str:
        """Why the run ends although rows had reserved what they may use, for the message that ends the run."""
        return f"{self._spent_text()}. Requests used more than was reserved for them; those in flight were finished"

    def _spent_text(self) -> str:
        limits: list[str] = []
        if self._max_cost is not None:
            limits.append(f"max_cost is {usd_text(self._max_cost)}")
        if self._max_tokens is not None:
            limits.append(f"max_tokens is {self._max_tokens:,}")
        return f"{' and '.join(limits)}. So far, {self._text(self.spent)} were used"

    def _text(self, amount: Amount) -> str:
        return f"{amount.tokens:,} tokens" + (f" and {usd_text(amount.usd)}" if self._max_cost else "")

    def _is_reached(self) -> bool:
        if self._max_tokens is not None and self.spent.tokens >= self._max_tokens:
            return True
        return self._max_cost is not None and self.spent.usd >= self._max_cost

    def _fits(self, total: Amount) -> bool:
        if self._max_tokens is not None and total.tokens > self._max_tokens:
            return False
        return self._max_cost is None or total.usd <= self._max_cost + _SLACK


def tokens_of(usage: Usage) -> int:
    """The tokens that count towards `max_tokens`."""
    return max(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
