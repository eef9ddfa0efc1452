"""Limits a minute, on requests and tokens: set by the user, or learnt from an endpoint's headers.

A request reserves an estimate of its tokens when it starts and settles on what it really took.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncinfer.config import GenerationParams, RemoteParams
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Usage

_WINDOW = 60.0
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 1000
# The largest answer seen fades by this with each answer, so that one outlier does not reserve room for ever.
_FADING = 0.99
_ENOUGH = 20


class Cost(NamedTuple):
    """What a request takes of each limit: one request, and tokens."""

    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0


FREE = Cost()


def estimate(conversation: Conversation, generation: GenerationParams) -> Cost:
    """What a request will take, before its tokens are counted; the answer at its longest."""
    messages = conversation.messages
    characters = sum(len(message.compute_flattened_text_content()) for message in messages)
    images = sum(len(m.image_content_items) for m in messages if not isinstance(m.content, str))
    tools = sum(len(str(tool)) for tool in conversation.tools or ())
    tokens = (characters + tools) // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE * len(messages)
    return Cost(1, tokens + _TOKENS_PER_IMAGE * images, generation.max_new_tokens)


@dataclass(slots=True)
class SlidingWindow:
    """At most `limit` units in any minute. What is reserved counts until it is settled, however long that takes."""

    limit: int
    _spent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _total: int = 0
    _reserved: int = 0

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` more fit; infinite while that depends on requests under way. One that is larger
        than the limit fits alone.
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
        self._reserved += amount

    def settle(self, reserved: int, now: float, spent: int) -> None:
        """`spent` units were taken at `now` instead of the `reserved` ones."""
        self._reserved -= reserved
        if spent:
            self._spent.append((now, spent))
            self._total += spent

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - _WINDOW:
            self._total -= self._spent.popleft()[1]


class Observation(NamedTuple):
    """What a response says of one limit: the most, what was left, and in how many seconds all will be."""

    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class LearntLimit:
    """A limit as an endpoint last told it: a bucket that fills steadily until it is full at the reset."""

    _level: float = math.inf
    _limit: float = math.inf
    _fill: float = 0.0
    _at: float = -math.inf
    taken: int = 0
    _taken_before: int = 0

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` is there; what is more than all waits until it is full."""
        missing = min(amount, self._limit) - self._left(now)
        return max(0.0, missing / self._fill) if missing > 0 else 0.0

    def learn(self, seen: Observation, sent: float, taken_before: int) -> None:
        """`seen` was said of a request sent at `sent`, when `taken_before` had been taken, its own part included."""
        if sent < self._at:
            return
        self._limit, self._level, self._at = seen.limit, seen.remaining, sent
        self._fill = (seen.limit - seen.remaining) / max(seen.reset, 0.001) or math.inf
        self._taken_before = taken_before

    def _left(self, now: float) -> float:
        if self._level == math.inf:
            return math.inf
        filled = min(self._level + self._fill * (now - self._at), self._limit)
        return filled - (self.taken - self._taken_before)


class Reservation(NamedTuple):
    """What a request under way has reserved; and of each learnt limit, what had been taken with it."""

    cost: Cost
    taken: dict[str, int]


_NOTHING_TAKEN: dict[str, int] = {}


class RateLimits:
    """The user's limits; or, where there are none, those that the endpoint's headers tell.

    `learn` takes limits by name: `requests`, `input_tokens`, `output_tokens`, and `tokens` for both together.
    """

    def __init__(self, remote: RemoteParams) -> None:
        self._requests = _window(remote.requests_per_minute)
        self._input = _window(remote.input_tokens_per_minute)
        self._output = _window(remote.output_tokens_per_minute)
        self._set = bool(self._requests or self._input or self._output)
        self._learnt: dict[str, LearntLimit] = {}
        self._longest = 0.0
        self._answers = 0

    @property
    def active(self) -> bool:
        """Whether there is any limit, set or learnt."""
        return self._set or bool(self._learnt)

    @property
    def counts_tokens(self) -> bool:
        """Whether a request's tokens matter, so that they must be estimated."""
        return self._input is not None or self._output is not None or bool(self._learnt.keys() - {"requests"})

    def wait(self, now: float, cost: Cost) -> float:
        """Seconds until a request of `cost` may start; infinite while only an answer can tell."""
        if self._set:
            cost = self._expected(cost)
            return max(
                self._requests.wait(now, cost.requests) if self._requests else 0.0,
                self._input.wait(now, cost.input_tokens) if self._input else 0.0,
                self._output.wait(now, cost.output_tokens) if self._output else 0.0,
            )
        return max(limit.wait(now, _amount(name, cost)) for name, limit in self._learnt.items())

    def reserve(self, now: float, cost: Cost) -> Reservation:
        """A request of `cost` starts."""
        cost = self._expected(cost)
        if self._requests:
            self._requests.settle(0, now, cost.requests)
        if self._input:
            self._input.reserve(cost.input_tokens)
        if self._output:
            self._output.reserve(cost.output_tokens)
        if not self._learnt:
            return Reservation(cost, _NOTHING_TAKEN)
        for name, limit in self._learnt.items():
            limit.taken += _amount(name, cost)
        return Reservation(cost, {name: limit.taken for name, limit in self._learnt.items()})

    def settle(self, reservation: Reservation, now: float, spent: Usage | None) -> None:
        """The request has ended, and took `spent`; as much as was reserved where nobody knows."""
        cost = reservation.cost
        if self._input:
            self._input.settle(cost.input_tokens, now, cost.input_tokens if spent is None else spent.prompt_tokens)
        if self._output:
            self._output.settle(
                cost.output_tokens, now, cost.output_tokens if spent is None else spent.completion_tokens
            )
        if spent is not None and spent.completion_tokens:
            self._answers += 1
            self._longest = max(spent.completion_tokens, self._longest * _FADING)

    def learn(self, seen: Mapping[str, Observation], sent: float, reservation: Reservation | None) -> None:
        """Heed what the response to a request that was sent at `sent` told of the endpoint's limits."""
        if self._set:
            return
        taken = reservation.taken if reservation is not None else _NOTHING_TAKEN
        for name, observation in seen.items():
            limit = self._learnt.setdefault(name, LearntLimit())
            limit.learn(observation, sent, taken.get(name, limit.taken))

    def _expected(self, cost: Cost) -> Cost:
        """`cost`, with an answer as long as any lately, once there were enough to tell."""
        if self._answers < _ENOUGH or cost.output_tokens <= self._longest:
            return cost
        return cost._replace(output_tokens=math.ceil(self._longest))


def _window(limit: int | None) -> SlidingWindow | None:
    return SlidingWindow(limit) if limit is not None else None


def _amount(name: str, cost: Cost) -> int:
    return cost.input_tokens + cost.output_tokens if name == "tokens" else getattr(cost, name)
