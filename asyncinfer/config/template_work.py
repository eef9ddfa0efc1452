"""Bounds what one rendering of a template may do, and how large its values may get.

Every operation pays for the values that it works on before it runs. A character costs 1, an element of a list 32, an
iteration 64, a filter 128 and a call 512. What an operation may make is computed before it is made. So the bound is the
same on every machine: a row that fails once fails always.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, cast

from jinja2 import Undefined

from asyncinfer.config.template_limits import LONGEST, MOST_BITS, TemplateLimitError

ITERATION = 64
FILTER = 128
CALL = 512
_ELEMENT = 32
# What one rendering may pay altogether: about a second of work.
_MOST = 1 << 26


class Work:
    """What one rendering has paid."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MOST

    def pay(self, amount: int) -> None:
        """Pay for an operation.

        Raises:
            TemplateLimitError: The rendering has done too much.
        """
        self.left -= amount
        if self.left < 0:
            raise TemplateLimitError(
                f"it does too much for this row: it may do at most {_MOST // ITERATION:,} iterations of loops, or work "
                f"on {_MOST:,} characters, altogether; shorten its loops, texts and lists"
            )


_current: ContextVar[Work] = ContextVar("work of the template that is rendered")
begin, end = _current.set, _current.reset


def pay(amount: int) -> None:
    """Pay for an operation of the template that is rendered. Raises as `Work.pay` does."""
    _current.get().pay(amount)


def pay_for(*values: object) -> None:
    """Pay for values that an operation works on.

    Raises:
        TemplateLimitError: They are too large, or the rendering has done too much.
    """
    _current.get().pay(sum(map(weight, values)))


def pay_for_result(operation: str, size: int) -> None:
    """Pay for a result with so many characters, before it is made. Raises as `pay_for` does."""
    if size > LONGEST:
        raise TemplateLimitError(f"the result of {operation} would be too large: {size:,} characters")
    pay(size)


def weight(value: object) -> int:
    """Return about how many characters the text of a value has.

    Raises:
        TemplateLimitError: It is too large.
    """
    return len(value) if type(value) is str else _added(value, 0)


def _added(value: object, total: int) -> int:
    """`total` and the weight of a value, which may be a list of lists."""
    if isinstance(value, str | bytes):
        total += len(value)
    elif isinstance(value, Mapping):
        for name, part in cast(Mapping[Any, Any], value).items():
            total = _added(name, _added(part, total + _ELEMENT))
    elif isinstance(value, Collection) and not isinstance(value, range | Undefined):
        for part in cast(Collection[Any], value):
            total = _added(part, total + _ELEMENT)
    else:
        total += _digits(value)
    if total > LONGEST:
        raise TemplateLimitError(f"a value is too large: it has more than {LONGEST:,} characters")
    return total


def _digits(value: object) -> int:
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise TemplateLimitError("a number is too large")
        return value.bit_length() // 3
    if isinstance(value, Decimal) and value.is_finite():
        return abs(value.adjusted())
    return _ELEMENT
