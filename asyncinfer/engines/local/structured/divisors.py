"""Selects the `multipleOf` keywords of a JSON schema that one grammar can express.

llguidance 1.9 merges the divisors of schemas that apply to one number (`allOf`, `$ref` or `anyOf` with other keywords,
`patternProperties`) into their least common multiple, and makes an automaton with that number of states: 988,027 states
take 7 s and 200 MB. It computes the multiple with 32 bits and does not notice an overflow.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import gcd, lcm
from typing import NamedTuple

MAX_DIVISOR, MAX_DECIMALS = 10_000, 9
MAX_SCALED = 2**32 // MAX_DIVISOR
"""The largest least common multiple, in units of the last decimal of any divisor."""


class _Divisor(NamedTuple):
    """`number` times 10 to the power of `-decimals`."""

    number: int
    decimals: int

    @property
    def size(self) -> int:
        """The number of states of its automaton."""
        return self.number // gcd(self.number, 10**self.decimals)


def too_large(values: Iterable[float]) -> frozenset[float]:
    """The divisors to drop, so that the least common multiple of the others is within the limits.

    Considers all divisors of a schema, because any two of them may be merged. Keeps the smallest ones.
    """
    dropped: set[float] = set()
    multiple = _Divisor(1, 0)
    divisors = {value: _divisor(value) for value in values}
    for value, divisor in sorted(divisors.items(), key=lambda item: item[0]):
        merged = None if divisor is None else _merged(multiple, divisor, is_first=multiple == (1, 0))
        if merged is None:
            dropped.add(value)
        else:
            multiple = merged
    return frozenset(dropped)


def _divisor(value: float) -> _Divisor | None:
    """None if the grammar of this divisor alone is too large."""
    _, digits, exponent = Decimal(str(value)).as_tuple()
    if not isinstance(exponent, int) or not -MAX_DECIMALS <= exponent <= MAX_DECIMALS:
        return None
    number = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    return _Divisor(number, max(-exponent, 0)) if 0 < number <= MAX_DIVISOR else None


def _merged(first: _Divisor, other: _Divisor, *, is_first: bool) -> _Divisor | None:
    """The least common multiple; None if it is too large."""
    if is_first:
        return other
    decimals = max(first.decimals, other.decimals)
    scaled = lcm(*(one.number * 10 ** (decimals - one.decimals) for one in (first, other)))
    merged = _Divisor(scaled, decimals)
    return merged if scaled <= MAX_SCALED and merged.size <= MAX_DIVISOR else None
