"""The counts of a run. Its progress, its summary, the progress file and the report all have them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

from asyncinfer.types.short_repr import ShortRepr


@dataclass(frozen=True, repr=False)
class RunCounts(ShortRepr):
    """The counts of a run.

    Args:
        total: The number of rows; None while it is unknown.
        completed: The number of answered rows, including `resumed`, `deduplicated` and `cached`.
        failed: The number of failed rows.
        resumed: The number of rows that an earlier run answered.
        attempts: The number of requests to the engine.
        refused: The number of requests that the endpoint refused because it was busy.
        retried: The number of times that a row was scheduled for another attempt.
        cut_by_length: The number of answers, also resumed ones, that end at `max_new_tokens` or at the model's limit.
        filtered: The number of answers, also resumed ones, that a content filter stopped.
        deduplicated: The number of rows that got the answer of the row that they duplicate.
        cached: The number of rows whose answer came from the cache.
    """

    total: int | None = None
    completed: int = 0
    failed: int = 0
    resumed: int = 0
    _: KW_ONLY
    attempts: int = 0
    refused: int = 0
    retried: int = 0
    cut_by_length: int = 0
    filtered: int = 0
    deduplicated: int = 0
    cached: int = 0


_NAMES = tuple(field.name for field in fields(RunCounts))


def counts_of(source: object, **changed: int | None) -> dict[str, Any]:
    """Return the counts of an object that has an attribute for each field of `RunCounts`, by name.

    Args:
        changed: Counts to return instead of those of the object.
    """
    return {**{name: getattr(source, name) for name in _NAMES}, **changed}
