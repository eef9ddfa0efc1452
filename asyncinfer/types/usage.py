"""The number of tokens of answers, and what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.types.short_repr import ShortRepr

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
# The counts that an engine may not report.
_MAY_BE_UNKNOWN = ("cached_tokens", "cache_creation_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True, repr=False)
class Usage(ShortRepr):
    """The number of tokens of one answer, and what they cost.

    `cached_tokens` and `cache_creation_tokens` are included in `prompt_tokens`, `reasoning_tokens` is included in
    `completion_tokens`. They are None if the engine does not report them.

    Args:
        cost: US dollars: as the response reports them, or else by the price of the model; None if both are unknown.
        details: Counts that only some APIs report, and that some models price apart. All but the last are included in
            the counts above: `cache_write_1h_tokens`, `cache_audio_read_tokens`, `input_audio_tokens`,
            `input_image_tokens`, `input_video_tokens`, `output_audio_tokens`, `output_image_tokens` and
            `web_searches`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    details: Mapping[str, int] | None = field(default=None, hash=False)

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> Usage:
        """Return the counts that `to_dict` made."""
        known = {name: counts[name] for name in (*_COUNTS, *_MAY_BE_UNKNOWN) if name in counts}
        return cls(**known, details={name: counts[name] for name in counts if name not in known} or None)

    def to_dict(self) -> dict[str, int]:
        """Return the known counts, in the form of `metadata["usage"]`."""
        counts = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.cached_tokens is not None:
            counts["cached_tokens"] = self.cached_tokens
        if self.cache_creation_tokens is not None:
            counts["cache_creation_tokens"] = self.cache_creation_tokens
        if self.reasoning_tokens is not None:
            counts["reasoning_tokens"] = self.reasoning_tokens
        return {**counts, **self.details} if self.details else counts

    def plus_later(self, other: Usage | None) -> Usage:
        """Return the usage of this attempt and of `other`, a later one at the same conversation.

        If the cost of one attempt is unknown, the cost of both is None.
        """
        if other is None:
            return dataclasses.replace(self, cost=None)
        total = UsageSum()
        total.add(self)
        total.add(other)
        cost = self.cost + other.cost if self.cost is not None and other.cost is not None else None
        return dataclasses.replace(total.total(), cost=cost)


class UsageSum:
    """Adds up the counts of usages. A count that no engine reports stays None. Costs are not added up."""

    def __init__(self) -> None:
        self._prompt = self._completion = self._total = 0
        self._others: dict[str, int] = {}
        self._details: dict[str, int] = {}

    def add(self, usage: Usage) -> None:
        """Add the counts of one usage."""
        self._prompt += usage.prompt_tokens
        self._completion += usage.completion_tokens
        self._total += usage.total_tokens
        if usage.details:
            _add(self._details, usage.details)
        if usage.cached_tokens is usage.cache_creation_tokens is usage.reasoning_tokens is None:
            return
        _add(self._others, {name: count for name in _MAY_BE_UNKNOWN if (count := getattr(usage, name)) is not None})

    def total(self) -> Usage:
        """Return the sums of all counts."""
        return Usage(self._prompt, self._completion, self._total, **self._others, details=self._details or None)


def _add(sums: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        sums[name] = sums.get(name, 0) + count
