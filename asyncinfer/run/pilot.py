"""A pilot: some rows of a job, chosen at random, which show what the others will take."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

from asyncinfer.run.events import RowFailed, RowFinished, RunEvent
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.saver import RowOutcome
from asyncinfer.run.stats import same_row
from asyncinfer.types.answer import FROM_CACHE, saved_usage
from asyncinfer.types.costs import RunCost
from asyncinfer.types.estimates import Estimate, Interval, estimated_total
from asyncinfer.types.results import FailureDetail
from asyncinfer.types.usage import Usage

# The same rows are chosen each time, so that a second pilot needs no requests.
_SEED = "asyncinfer"


class Pace(NamedTuple):
    """How fast rows can be answered: how many at once, and the limits per minute. None: no limit.

    Args:
        most_tokens: The most tokens of one answer.
    """

    at_once: int
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    most_tokens: int | None = None


class Pilot:
    """The rows of a pilot, and what they show.

    Args:
        statuses: The rows whose answers are saved, and those whose answers are in the output of an earlier run.
        size: How many rows to choose.
        duplicates: The rows that are not sent, because they get the answers of others.
        reuses_output: The job does not send the rows whose answers are in the output.
        row_of: Returns the row of the job that a row of the input is.

    Attributes:
        chosen: The rows of the pilot.
        in_output: Those of them whose answers are in the output.
    """

    def __init__(
        self,
        rows: ValidatedInput,
        statuses: RowStatusTable,
        size: int,
        *,
        duplicates: Collection[int] = (),
        reuses_output: bool = False,
        row_of: Callable[[int], int] = same_row,
    ) -> None:
        self._rows, self._statuses, self._reuses_output = rows, statuses, reuses_output
        self._row_of = row_of
        self._sent = [row for row in range(len(rows)) if row not in rows.rejected and row not in duplicates]
        self.chosen = frozenset(random.Random(_SEED).sample(self._sent, min(size, len(self._sent))))
        self.in_output = frozenset(row for row in self.chosen if statuses.is_in_output(row))
        self._prompts, self._answers, self._costs = list[float](), list[float](), list[float | None]()
        self._seconds: list[float] = []
        self._failures: list[tuple[int, FailureDetail]] = []
        self._answered = 0

    def observe(self, event: RunEvent) -> None:
        """Note how long an answer took, and what a failed row used."""
        if isinstance(event, RowFinished):
            self._seconds.append(event.latency.total)
        elif isinstance(event, RowFailed) and event.usage is not None:
            self._add(event.usage)

    def outcome(self, row: int, outcome: RowOutcome) -> None:
        """Note what an answer took."""
        if isinstance(outcome, FailureDetail):
            self._failures.append((self._row_of(row), outcome))
            return
        self._answered += 1
        usage = saved_usage(outcome)
        if usage is not None:
            self._add(usage)
        elif FROM_CACHE in outcome.metadata:
            self._add(Usage(cost=0.0))

    def _add(self, usage: Usage) -> None:
        self._prompts.append(usage.prompt_tokens)
        self._answers.append(usage.completion_tokens)
        self._costs.append(usage.cost)

    def estimate(self, pace: Pace, paid: RunCost | None) -> Estimate:
        """What the rows will take that have no answer yet."""
        statuses = self._statuses
        again = 0 if self._reuses_output else sum(map(statuses.is_in_output, self._sent))
        left = again + sum(not statuses.saved(row) for row in self._sent)
        counts = Estimate(
            len(self._rows),
            left,
            self._answered,
            paid=paid,
            failures=self._failures,
            already_answered=self._answered - len(self._seconds),
            sent_again=again,
        )
        if not self._prompts:
            return counts
        prompts = estimated_total(self._prompts, left)
        answers = estimated_total(self._answers, left, pace.most_tokens or float("inf"))
        costs = [cost for cost in self._costs if cost is not None]
        return replace(
            counts,
            prompt_tokens=prompts,
            completion_tokens=answers,
            cost=estimated_total(costs, left) if len(costs) == len(self._costs) else None,
            seconds=self._time(pace, left, prompts, answers),
        )

    def _time(self, pace: Pace, left: int, prompts: Interval, answers: Interval) -> Interval | None:
        if not self._seconds:
            return None
        one_by_one = estimated_total(self._seconds, left)
        at_once = max(1, min(pace.at_once, left))
        low, high = (end / at_once if end is not None else None for end in one_by_one[1:])
        time = Interval(one_by_one.expected / at_once, low, high)
        limits = (pace.requests_per_minute, pace.input_tokens_per_minute, pace.output_tokens_per_minute)
        for total, limit in zip((left, prompts.expected, answers.expected), limits, strict=True):
            if limit is not None:
                time = time.at_least(total / limit * 60)
        return time
