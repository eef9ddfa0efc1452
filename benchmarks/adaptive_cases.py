"""The cases of `adaptive.py`: servers, how long each is measured, and what is wanted of the adaptive client."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Literal

from adaptive_limits import Bucket, FixedWindow, InFlight, Limit, Queue

ADAPTIVE, FIXED, DELUGE, OPENAI = "adaptive", "fixed", "lm-deluge", "openai"
# Every request asks for at most so many tokens, and gets fewer.
MAX_TOKENS, ANSWER_TOKENS = 100, 30
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Wanted:
    """What the adaptive client must reach: the least share of the capacity used, the largest share of requests
    refused, the least rows/s relative to fixed concurrency, the most seconds for all rows. No row may be lost.
    """

    used: float | None = None
    refused: float | None = None
    ratio: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        parts = [
            f"used >= {self.used:.0%}" if self.used is not None else "",
            f"refused <= {self.refused:.0%}" if self.refused is not None else "",
            f"rows/s >= {self.ratio:g} of fixed" if self.ratio is not None else "",
            f"<= {self.seconds:g} s" if self.seconds is not None else "",
        ]
        return ", ".join(part for part in parts if part) or "none lost"


@dataclass(frozen=True)
class Noise:
    """A share of the requests fails, at once, with one of `statuses`: at random, or every n-th in turn."""

    share: float
    statuses: tuple[int, ...] = (503,)
    in_turn: bool = False


@dataclass(frozen=True)
class Outage:
    """From `at` on, for `seconds`, every request fails: with a status, or because its connection is reset or refused."""

    kind: int | Literal["reset", "refused"]
    at: float
    seconds: float


@dataclass(frozen=True)
class Scale:
    """Seconds: how long a case is measured, a fixed window, an outage, and a slow answer."""

    seconds: float = 30.0
    window: float = 60.0
    outage: float = 60.0
    latency: float = 30.0


QUICK = Scale(8.0, 10.0, 15.0, 6.0)


@dataclass(frozen=True)
class Case:
    """A server and a job. `limit` is called with the seconds after which counting stops.

    `rows`: how many rows the job has; by default a few more than the server can take in `seconds`.
    `calls`: each row is a call of its own, instead of all in one. `grace`: see `patience`.
    """

    name: str
    group: str
    seconds: float
    limit: Callable[[float], Limit]
    workers: int = 100
    latency: float = 0.05
    status: int = 429
    retry_after: bool = False
    counts_tokens: bool = False
    calls: bool = False
    noise: Noise | None = None
    outage: Outage | None = None
    given_rows: int | None = None
    grace: float = 60.0
    clients: tuple[str, ...] = (ADAPTIVE, FIXED)
    wanted: Wanted = field(default_factory=lambda: Wanted(0.95, 0.04))

    @cached_property
    def capacity(self) -> float:
        """What the server can take in `seconds`, without the outage."""
        return self.limit(self.seconds).capacity(self.seconds - (self.outage.seconds if self.outage else 0.0))

    @cached_property
    def rows(self) -> int:
        return self.given_rows or math.ceil(self.capacity / self._row_cost * 1.03) + 10

    @property
    def patience(self) -> float:
        """A client that has not ended after so many seconds is stopped."""
        return 1.5 * self.seconds + self.latency + self.grace

    @property
    def _row_cost(self) -> float:
        if self.counts_tokens:
            return sum(prompt_tokens(i) for i in range(1000)) / 1000 + MAX_TOKENS
        return self.latency if isinstance(self.limit(self.seconds), InFlight) else 1.0

    def load(self, client: str) -> float:
        """About how many CPU cores the client and its server keep busy."""
        floods = client != ADAPTIVE and self.wanted.refused is not None and self.rows > 200
        return 0.03 + 0.0006 * self.rows / self.seconds + 0.4 * floods

    def prompt(self, row: int) -> str:
        text = f"Question {row}?"
        return text.ljust(_CHARACTERS_PER_TOKEN * prompt_tokens(row), ".") if self.counts_tokens else text


@cache
def prompt_tokens(row: int) -> int:
    """The length of a row's prompt in the cases that count tokens: most are short, a few are 30 times as long."""
    return round(min(max(random.Random(row).lognormvariate(5.0, 1.0), 20), 3000))


def tokens_of(text: str) -> int:
    return len(text) // _CHARACTERS_PER_TOKEN


def cases(scale: Scale) -> list[Case]:
    return [
        *_hidden_rates(scale.seconds),
        *_concurrency_limits(scale),
        *_token_limits(scale.seconds),
        *_fixed_windows(scale.window),
        *_random_failures(scale.seconds),
        *_outages(scale.outage),
        _startup(),
    ]


def _hidden_rates(seconds: float) -> list[Case]:
    case = partial(Case, group="hidden rate", seconds=seconds, clients=(ADAPTIVE, FIXED, DELUGE))
    half = seconds / 2
    return [
        case("73/s", limit=partial(Bucket, phases=[(seconds, 73)]), workers=256),
        case("120, then 45/s", limit=partial(Bucket, phases=[(half, 120), (half, 45)])),
        case("40, then 160/s", limit=partial(Bucket, phases=[(half, 40), (half, 160)])),
        case("50/s, Retry-After: 1", limit=partial(Bucket, phases=[(seconds, 50)]), retry_after=True),
        case("10/s", limit=partial(Bucket, phases=[(seconds, 10)])),
        case("2/s", limit=partial(Bucket, phases=[(seconds, 2)])),
        case("100/s, queueing", limit=partial(Queue, rate=100)),
    ]


def _concurrency_limits(scale: Scale) -> list[Case]:
    case = partial(Case, group="concurrency limit")
    short = partial(case, seconds=scale.seconds, latency=0.1)
    slow = partial(case, seconds=4 * scale.latency, latency=scale.latency, workers=500)
    return [
        *(short(f"{limit} in flight", limit=partial(InFlight, limit=limit)) for limit in (40, 3, 1)),
        slow(f"{scale.latency:g} s latency, 500 workers", limit=partial(InFlight, limit=500)),
        slow(f"{scale.latency:g} s latency, 200 in flight", limit=partial(InFlight, limit=200)),
    ]


def _token_limits(seconds: float) -> list[Case]:
    def case(name: str, reports: bool) -> Case:
        limit = partial(Bucket, phases=[(seconds, 15_000)], unit="tokens", reports=reports)
        return Case(name, "token limit", seconds, limit, counts_tokens=True)

    return [case("15,000 tokens/s", False), case("15,000 tokens/s, headers", True)]


def _fixed_windows(window: float) -> list[Case]:
    """The first request comes in the middle of a window, and the job takes two and a half."""

    def case(limit: int, retry_after: bool) -> Case:
        name = f"{limit} per {window:g} s" + (", Retry-After" if retry_after else "")
        make = partial(FixedWindow, limit=limit, window=window, elapsed=window / 2)
        return Case(
            name,
            "fixed window",
            2.5 * window,
            make,
            latency=0.3,
            workers=50,
            retry_after=retry_after,
            given_rows=3 * limit + limit // 4,
        )

    return [case(limit, retry_after) for limit in (60, 10) for retry_after in (False, True)]


def _random_failures(seconds: float) -> list[Case]:
    def case(name: str, noise: Noise | None) -> Case:
        limit = partial(InFlight, limit=100)
        wanted = Wanted(ratio=0.8)
        return Case(name, "random failures", seconds, limit, latency=0.1, noise=noise, grace=20.0, wanted=wanted)

    return [
        case("no limit", None),
        *(case(f"{share:.0%} answered 503", Noise(share)) for share in (0.01, 0.03, 0.06, 0.12, 0.25)),
        case("one backend of 4 fails (503)", Noise(0.25, in_turn=True)),
        case("one backend of 4 fails (500, 503)", Noise(0.25, (500, 503), in_turn=True)),
    ]


def _outages(seconds: float) -> list[Case]:
    around = seconds / 3
    total = seconds + 2 * around
    phases = [(around, 100.0), (seconds, 0.0), (around, 100.0)]

    def zero(status: int) -> Case:
        limit = partial(Bucket, phases=phases)
        return Case(f"100/s, zero for {seconds:g} s ({status})", "outage", total, limit, status=status)

    def outage(kind: int | Literal["reset", "refused"]) -> Case:
        return Case(
            f"outage of {seconds:g} s ({kind if isinstance(kind, int) else 'connection ' + kind})",
            "outage",
            total,
            partial(InFlight, limit=100),
            latency=0.2,
            outage=Outage(kind, around, seconds),
            given_rows=round(500 * 2 * around),
            wanted=Wanted(),
        )

    return [zero(429), zero(503), outage("reset"), outage("refused"), outage(500), outage(503)]


def _startup() -> Case:
    return Case(
        "100 calls of 5 s at once",
        "start-up",
        seconds=7.0,
        limit=partial(InFlight, limit=100),
        latency=5.0,
        calls=True,
        given_rows=100,
        clients=(ADAPTIVE, FIXED, OPENAI),
        wanted=Wanted(seconds=7.0),
    )
