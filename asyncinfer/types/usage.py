"""The number of tokens of answers."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.types.short_repr import ShortRepr

# The counts that an engine may not report.
_MAY_BE_UNKNOWN = frozenset({"cached_tokens", "cache_creation_tokens", "reasoning_tokens"})


@dataclass(frozen=True, slots=True, repr=False)
class Usage(ShortRepr):
    """The number of tokens of one answer.

    `cached_tokens` and `cache_creation_tokens` are included in `prompt_tokens`, `reasoning_tokens` is included in
    `completion_tokens`. They are None if the engine does not report them.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None

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
        return counts


class UsageSum:
    """Adds up usages. A count that no engine reports stays None."""

    def __init__(self) -> None:
        self._prompt = self._completion = self._total = 0
        self._others: dict[str, int] = {}

    def add(self, usage: Usage) -> None:
        """Add the counts of one usage."""
        self._prompt += usage.prompt_tokens
        self._completion += usage.completion_tokens
        self._total += usage.total_tokens
        if usage.cached_tokens is usage.cache_creation_tokens is usage.reasoning_tokens is None:
            return
        for name, count in usage.to_dict().items():
            if name in _MAY_BE_UNKNOWN:
                self._others[name] = self._others.get(name, 0) + count

    def total(self) -> Usage:
        """Return the sums of all counts."""
        return Usage(self._prompt, self._completion, self._total, **self._others)
