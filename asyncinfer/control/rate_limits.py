"""Limits per minute on requests and tokens: configured by the user, or observed in an endpoint's headers.

A request reserves an estimate of its tokens when it starts. When it ends, the tokens that it used replace the estimate.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncinfer.config import GenerationParams, RemoteParams
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.usage import Usage

# Seconds.
_WINDOW = 60.0
# The estimate of tokens.
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 1000
# The length of the longest answer is multiplied by this with each answer, so that one outlier does not count forever.
_FADING = 0.99
# The number of answers whose lengths show how many tokens an answer takes.
_ENOUGH_ANSWERS = 20
# Seconds. An observed limit expires after twice the time until its reset, but not before `_SHORTEST_LIFE`. A limit that
# takes longer than `_LONGEST_RESET` to reset is a quota. It is ignored here: a refusal reports when it is used up.
_SHORTEST_LIFE, _LONGEST_RESET = 60.0, 300.0
# The estimated tokens of an answer whose length has no limit.
_UNKNOWN_ANSWER = 1024
# A larger number of tokens is an error of the endpoint.
_MOST_TOKENS = 10**9


class Demand(NamedTuple):
    """What a request takes from each limit: one request, and tokens."""

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0


ONE_REQUEST = Demand()
"""The demand of a request whose tokens do not matter."""


def estimated_demand(conversation: Conversation, generation: GenerationParams) -> Demand:
    """Estimate what a request will take. The answer counts with its largest length."""
    messages = conversation.messages
    characters = sum(len(message.compute_flattened_text_content()) for message in messages)
    images = sum(len(m.image_content_items) for m in messages if not isinstance(m.content, str))
    tools = sum(len(tool.model_dump_json(exclude_none=True)) for tool in conversation.tools or ())
    tokens = (characters + tools) // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE * len(messages)
    return Demand(1, tokens + _TOKENS_PER_IMAGE * images, generation.max_new_tokens or _UNKNOWN_ANSWER)


@dataclass(slots=True)
class SlidingWindow:
    """At most `limit` units in any minute. Reserved units count until they are settled, however long that takes."""

    limit: int
    _spent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _total: int = 0
    _reserved: int = 0

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` more units fit; infinite while that depends on requests in flight.

        An amount that is larger than the limit fits when no other units count.
        """
        self._forget(now)
        excess = self._total + self._reserved + min(amount, self.limit) - self.limit
        if excess <= 0:
            return 0.0
        for at, spent in self._spent:
            excess -= spent
            if excess <= 0:
                return at + _WINDOW - now
        return math.inf

    def reserve(self, amount: int) -> None:
        """A request starts that will take about `amount` units."""
        self._reserved += amount

    def settle(self, reserved: int, now: float, spent: int) -> None:
        """A request has taken `spent` units at `now`. They replace the `reserved` ones."""
        self._reserved -= reserved
        if spent:
            self._spent.append((now, spent))
            self._total += spent

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - _WINDOW:
            self._total -= self._spent.popleft()[1]


@dataclass(slots=True)
class ObservedLimit:
    """A limit as the endpoint's latest headers show it: a bucket that refills at a steady rate.

    It expires unless it is observed again, so a limit that was shown once cannot stop a run.

    Attributes:
        taken: All units taken so far.
    """

    taken: int = 0
    _limit: float = math.inf
    _level: float = math.inf
    _refill_rate: float = 0.0
    _at: float = -math.inf
    _sent: float = -math.inf
    _expires: float = -math.inf

    def is_expired(self, now: float) -> bool:
        return now >= self._expires

    def wait(self, now: float, amount: int) -> float:
        """Seconds until the bucket holds `amount` units, or until it is full if its size is smaller than `amount`."""
        if self.is_expired(now):
            return 0.0
        missing = min(amount, self._limit) - self._level_at(now)
        return min(missing / self._refill_rate, self._expires - now) if missing > 0 else 0.0

    def take(self, now: float, amount: int) -> None:
        """A request of `amount` units starts."""
        self.taken += amount
        self._level, self._at = self._level_at(now) - amount, max(self._at, now)

    def observe(self, seen: LimitObservation, now: float, sent: float, taken_before: int) -> None:
        """The response to a request showed the limit as `seen`.

        Args:
            sent: When that request was sent.
            taken_before: The units that had been taken by then, including those of that request.
        """
        if sent < self._sent or not 0 <= seen.reset <= _LONGEST_RESET:
            return  # The response to a later request was earlier, or the limit is a quota.
        self._sent, self._at, self._limit = sent, max(sent, self._at), seen.limit
        self._level = seen.remaining - (self.taken - taken_before)
        self._refill_rate = max(seen.limit - seen.remaining, 0) / max(seen.reset, 0.001) or math.inf
        self._expires = now + max(2 * seen.reset, _SHORTEST_LIFE)

    def _level_at(self, now: float) -> float:
        if self._level == math.inf:
            return math.inf
        elapsed = max(0.0, now - self._at)
        return min(self._level + self._refill_rate * elapsed if elapsed else self._level, self._limit)


class Reservation(NamedTuple):
    """What a request in flight has reserved.

    Args:
        demand: The reserved units.
        taken: `ObservedLimit.taken` of each observed limit when the request started, this request included.
    """

    demand: Demand
    taken: dict[str, int]


_NOTHING_TAKEN: dict[str, int] = {}


class RateLimits:
    """The limits that the user has configured, or else the limits in the endpoint's headers.

    Observed limits have the names `requests`, `input_tokens`, `output_tokens`, and `tokens` for both kinds together.
    """

    def __init__(self, remote: RemoteParams) -> None:
        self._requests = _window(remote.requests_per_minute)
        self._input = _window(remote.input_tokens_per_minute)
        self._output = _window(remote.output_tokens_per_minute)
        self._is_configured = bool(self._requests or self._input or self._output)
        self._observed: dict[str, ObservedLimit] = {}
        self._longest = 0.0
        self._answers = 0

    @property
    def active(self) -> bool:
        """Whether there is any limit, configured or observed."""
        return self._is_configured or bool(self._observed)

    @property
    def counts_tokens(self) -> bool:
        """Whether a request's tokens matter, so that they must be estimated."""
        if self._is_configured:
            return self._input is not None or self._output is not None
        return bool(self._observed) and self._observed.keys() != {"requests"}

    def wait(self, now: float, demand: Demand) -> float:
        """Seconds until a request of `demand` may start; infinite if that depends on requests in flight."""
        if self._is_configured:
            demand = self._expected(demand)
            return max(
                self._requests.wait(now, demand.requests) if self._requests else 0.0,
                self._input.wait(now, demand.input_tokens) if self._input else 0.0,
                self._output.wait(now, demand.output_tokens) if self._output else 0.0,
            )
        for name in [name for name, limit in self._observed.items() if limit.is_expired(now)]:
            del self._observed[name]
        return max((limit.wait(now, _amount(name, demand)) for name, limit in self._observed.items()), default=0.0)

    def reserve(self, now: float, demand: Demand) -> Reservation:
        """A request of `demand` starts."""
        demand = self._expected(demand)
        if self._requests:
            self._requests.settle(0, now, demand.requests)
        if self._input:
            self._input.reserve(demand.input_tokens)
        if self._output:
            self._output.reserve(demand.output_tokens)
        if not self._observed:
            return Reservation(demand, _NOTHING_TAKEN)
        for name, limit in self._observed.items():
            limit.take(now, _amount(name, demand))
        return Reservation(demand, {name: limit.taken for name, limit in self._observed.items()})

    def settle(self, reservation: Reservation, now: float, spent: Usage | None) -> None:
        """The request has ended. `spent`: the tokens that it used; None if unknown, so that the reservation counts."""
        demand = reservation.demand
        prompt = demand.input_tokens if spent is None else _bounded(spent.prompt_tokens, demand.input_tokens)
        answer = demand.output_tokens if spent is None else _bounded(spent.completion_tokens, demand.output_tokens)
        if self._input:
            self._input.settle(demand.input_tokens, now, prompt)
        if self._output:
            self._output.settle(demand.output_tokens, now, answer)
        if spent is not None and answer:
            self._answers += 1
            self._longest = max(answer, self._longest * _FADING)

    def observe(
        self, seen: Mapping[str, LimitObservation], now: float, sent: float, reservation: Reservation | None
    ) -> None:
        """Follow the limits `seen` in the response to a request that was sent at `sent`."""
        if self._is_configured:
            return
        taken = reservation.taken if reservation is not None else _NOTHING_TAKEN
        for name, observation in seen.items():
            limit = self._observed.setdefault(name, ObservedLimit())
            limit.observe(observation, now, sent, taken.get(name, limit.taken))

    def _expected(self, demand: Demand) -> Demand:
        """`demand`, with the length of the longest recent answer if enough answers are known."""
        if self._answers < _ENOUGH_ANSWERS or demand.output_tokens <= self._longest:
            return demand
        return demand._replace(output_tokens=math.ceil(self._longest))


def _window(limit: int | None) -> SlidingWindow | None:
    return SlidingWindow(limit) if limit is not None else None


def _bounded(tokens: object, reserved: int) -> int:
    """A number of tokens from an engine; `reserved` if it is not an integer from 0 to `_MOST_TOKENS`."""
    return tokens if type(tokens) is int and 0 <= tokens <= _MOST_TOKENS else reserved


def _amount(name: str, demand: Demand) -> int:
    return demand.input_tokens + demand.output_tokens if name == "tokens" else getattr(demand, name)
