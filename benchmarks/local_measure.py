"""What the sections of `local_engines.py` measure with: ratios of ours to theirs, and the lag of the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from asyncinfer import BaseInferenceEngine, Conversation, GenerationParams, InferenceConfig, Message, Role

PROMPTS = [
    "Tell me about Paris.",
    "Explain how bread is made.",
    "Write a short story about a lighthouse keeper.",
    "What is the difference between a planet and a star?",
]
LAG_MS = 50.0
Rate = Callable[[int], Awaitable[float]]
# A row alone takes a second or three, in which a shared machine may well be a tenth faster or slower. So it is measured
# more often than the rest.
_ALONE = 4


@dataclass
class Comparison:
    """Tokens per second by round: `theirs` and `ours`, and the ratio that is wanted."""

    name: str
    target: float
    theirs: list[float] = field(default_factory=list[float])
    ours: list[float] = field(default_factory=list[float])

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)


@dataclass
class Lag:
    worst: float = 0.0


@dataclass
class Section:
    """What was measured of one engine. `facts`: the settings; `lags`: the largest of each phase, in milliseconds."""

    engine: str
    facts: dict[str, str | int]
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    lags: dict[str, float] = field(default_factory=dict[str, float])

    def comparison(self, name: str, target: float) -> Comparison:
        """The one of this name, which is added if there is none."""
        found = next((one for one in self.comparisons if one.name == name), None)
        if found is None:
            self.comparisons.append(found := Comparison(name, target))
        return found

    def add_lag(self, phase: str, lag: Lag) -> None:
        self.lags[phase] = max(self.lags.get(phase, 0.0), lag.worst)


@dataclass(frozen=True)
class Options:
    rounds: int
    tokens: int
    threads: int
    model: str


@asynccontextmanager
async def lag_of_the_loop() -> AsyncGenerator[Lag]:
    """Measures, every 5 ms, how much later than asked for the loop comes round."""
    lag = Lag()

    async def watch() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lag.worst = max(lag.worst, (time.perf_counter() - due) * 1e3)

    task = asyncio.create_task(watch())
    try:
        yield lag
    finally:
        task.cancel()


async def compare(section: Section, name: str, target: float, rounds: Iterable[int], theirs: Rate, ours: Rate) -> None:
    """Measure both in turns, each beside the same busy loop; they are called with the number of the round. What was
    measured under this name before is kept.
    """
    measured = section.comparison(name, target)
    for turn in rounds:
        for side in ("theirs", "ours") if turn % 2 else ("ours", "theirs"):
            async with lag_of_the_loop() as lag:
                if side == "theirs":
                    measured.theirs.append(await theirs(turn))
                else:
                    measured.ours.append(await ours(turn))
            if side == "ours":
                section.add_lag(name, lag)


async def load(engine: BaseInferenceEngine) -> None:
    """Ask for two tokens, as an engine loads its model with the first call."""
    await answer(engine, [question(prompt(0))], 2)


async def measure_loading(section: Section, engine: BaseInferenceEngine) -> None:
    async with lag_of_the_loop() as lag:
        await load(engine)
    section.add_lag("loading", lag)


async def compare_alone(
    section: Section,
    engine: BaseInferenceEngine,
    theirs: Callable[[list[Conversation]], Awaitable[float]],
    options: Options,
    rounds: int,
    how: str = "",
) -> None:
    """Compare one row that has the model to itself."""

    def row(turn: int) -> list[Conversation]:
        return [question(prompt(turn))]

    async def ours(turn: int) -> float:
        return await ours_at_once(engine, row(turn), options.tokens)

    await compare(section, f"one row alone{how}", 0.97, range(_ALONE * rounds), lambda turn: theirs(row(turn)), ours)


def prompt(number: int) -> str:
    return PROMPTS[number % len(PROMPTS)]


def question(text: str, system: str | None = None) -> Conversation:
    messages = [Message(role=Role.USER, content=text)]
    if system is not None:
        messages.insert(0, Message(role=Role.SYSTEM, content=system))
    return Conversation(messages=messages)


async def ours_at_once(engine: BaseInferenceEngine, rows: Sequence[Conversation], tokens: int) -> float:
    begun = time.perf_counter()
    return await answer(engine, rows, tokens) / (time.perf_counter() - begun)


async def ours_at_random(
    engine: BaseInferenceEngine, rows: Sequence[Conversation], tokens: int, window: float, chance: random.Random
) -> float:
    """Each row is a call of its own, at a random time within the first `window` seconds, the first at once."""

    async def late(row: Conversation, delay: float) -> int:
        await asyncio.sleep(delay)
        return await answer(engine, [row], tokens)

    delays = sorted(chance.uniform(0, window) for _ in rows)
    begun = time.perf_counter()
    waits = (delay - delays[0] for delay in delays)
    counts = await asyncio.gather(*(late(row, wait) for row, wait in zip(rows, waits, strict=True)))
    return sum(counts) / (time.perf_counter() - begun)


async def answer(engine: BaseInferenceEngine, rows: Sequence[Conversation], tokens: int) -> int:
    """How many tokens the answers have."""
    answered = await engine.ainfer(list(rows), InferenceConfig(generation=GenerationParams(max_new_tokens=tokens)))
    return sum(row.metadata["usage"]["completion_tokens"] for row in answered)


async def at_random_times(
    section: Section, engine: BaseInferenceEngine, rows: Callable[[int], list[Conversation]], options: Options
) -> None:
    """Compare rows that come one by one, within half the time that all at once take, with those. `rows(n)` are new
    ones for each n.
    """
    took: dict[int, float] = {}

    async def at_once(turn: int) -> float:
        begun = time.perf_counter()
        rate = await ours_at_once(engine, rows(2 * turn), options.tokens)
        took[turn] = time.perf_counter() - begun
        return rate

    async def at_random(turn: int) -> float:
        window = (took.get(turn) or min(took.values())) / 2
        return await ours_at_random(engine, rows(2 * turn + 1), options.tokens, window, random.Random(turn))

    await at_once(options.rounds)
    await compare(section, "at random times (theirs: all at once)", 0.85, range(options.rounds), at_once, at_random)
