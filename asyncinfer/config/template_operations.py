"""What the methods and operators of a template may make: computed before they run.

The methods of Python's own types that templates may call are listed here. Their results are not larger than what they
work on, except where a function says how large.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, time
from typing import Any, cast

from asyncinfer.config.template_limits import MOST_BITS, TemplateLimitError
from asyncinfer.config.template_work import pay, pay_for, pay_for_result, weight


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_TEXT = words(
    "capitalize casefold count decode encode endswith find hex index isalnum isalpha isascii isdecimal isdigit "
    "isidentifier islower isnumeric isprintable isspace istitle isupper lower partition removeprefix removesuffix "
    "rfind rindex rpartition startswith swapcase title upper"
)
_LIST = words("count index copy")
_DICT = words("get items keys values copy")
_SET = words("copy isdisjoint issubset issuperset union intersection difference symmetric_difference")
_NUMBER = words("bit_length bit_count is_integer as_integer_ratio conjugate hex")
_METHODS: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    ((list, tuple, range), _LIST),
    (Mapping, _DICT),
    ((set, frozenset), _SET),
    ((int, float, complex), _NUMBER),
)
# A conversion of Python's `%` formatting.
_CONVERSION = re.compile(r"%(?:\([^()]*\))?[#0 +-]*(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.?)", re.DOTALL)
_NUMBERS = re.compile(r"\d+")


def pay_for_method(owner: object, name: str, values: tuple[Any, ...], more: Mapping[str, Any]) -> None:
    """Pay for the call of a method.

    Args:
        values: The arguments.
        more: The arguments with names.

    Raises:
        TemplateLimitError: Its result would be too large, or the rendering has done too much.
        ValueError: The method is not available.
    """
    if isinstance(owner, str | bytes):
        pay(len(owner))
        if name in _TEXT_PAYMENTS:
            _TEXT_PAYMENTS[name](owner, *values, **more)
        else:
            _check(name in _TEXT, owner, name)
    elif isinstance(owner, date | time):
        pay_for_result(name, sum(map(numbers_in, values)))
    else:
        names = next((names for kind, names in _METHODS if isinstance(owner, kind)), None)
        _check((names is None or name in names) and not isinstance(owner, type), owner, name)
        pay(len(cast(Mapping[Any, Any], owner)) if isinstance(owner, Mapping) else weight(owner))


def pay_for_operator(name: str, left: Any, right: Any) -> None:
    """Pay for a binary operator. Raises as `pay_for_method` does."""
    pay_for(left, right)
    if name == "%" and isinstance(left, str | bytes):
        pay_for_percent(left, right)
    elif name == "**":
        _check_bits(name, _bits(left) * abs(_whole(right)))
    elif name == "*":
        for value, factor in ((left, right), (right, left)):
            if isinstance(value, str | bytes | list | tuple):
                pay_for_result(name, weight(cast(object, value)) * _whole(factor))
        _check_bits(name, _bits(left) + _bits(right))


def pay_for_percent(template: str | bytes, values: object) -> None:
    """Pay for `template % values`. Raises as `pay_for_method` does."""
    text = template if isinstance(template, str) else template.decode("latin-1")
    width = count = 0
    for match in _CONVERSION.finditer(text):
        if "*" in match.groups() or match[3] == "(":
            raise ValueError("a format should not have '*', or '(' inside the name of a value")
        count, width = count + 1, width + sum(int(number) for number in match.groups()[:2] if number)
    pay_for_result("format", len(text) + width + count * weight(values))


def numbers_in(text: object) -> int:
    """The sum of the numbers in a format, which may be widths."""
    return sum(map(int, _NUMBERS.findall(text))) if isinstance(text, str) else 0


def _check(is_available: bool, owner: object, name: str) -> None:
    if not is_available:
        raise ValueError(f"templates cannot use the method {name!r} of a value of type {type(owner).__name__}")


def _whole(value: Any) -> int:
    """A number of characters, also as a number of numpy; 0 for what is no whole number, which Python refuses."""
    try:
        return operator.index(value)
    except TypeError:
        return 0


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _check_bits(name: str, bits: int) -> None:
    if bits > MOST_BITS:
        raise TemplateLimitError(f"the result of {name} would be too large")


def _padded(text: Any, width: Any, *_: Any) -> None:
    pay_for_result("a width", _whole(width))


def _tabs(text: Any, tabsize: Any = 8) -> None:
    pay_for_result("expandtabs", len(text) + text.count(b"\t" if isinstance(text, bytes) else "\t") * _whole(tabsize))


def pay_for_replace(text: Any, old: Any, new: Any, count: Any = -1) -> None:
    """Pay for `text.replace(old, new, count)`. Raises as `pay_for_method` does."""
    pay_for(old, new)
    found = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    pay_for_result("replace", len(text) + found * len(new))


def pay_for_join(separator: Any, parts: Collection[Any]) -> None:
    """Pay for `separator.join(parts)`. Raises as `pay_for_method` does."""
    pay_for_result("join", weight(parts) + len(separator) * len(parts))


def pay_for_strip(text: Any, characters: Any = None) -> None:
    """Pay for `text.strip(characters)`. Raises as `pay_for_method` does."""
    pay(len(text) * (len(characters or "") >> 4))


def _split(text: Any, *_: Any, **__: Any) -> None:
    pay(len(text) * 8)  # A list of short texts takes much more memory than the text.


# What pays for the methods of texts whose results may be larger than the text, or that take long.
_TEXT_PAYMENTS: dict[str, Callable[..., None]] = {
    "center": _padded,
    "ljust": _padded,
    "rjust": _padded,
    "zfill": _padded,
    "expandtabs": _tabs,
    "replace": pay_for_replace,
    "join": pay_for_join,
    "strip": pay_for_strip,
    "lstrip": pay_for_strip,
    "rstrip": pay_for_strip,
    "split": _split,
    "rsplit": _split,
    "splitlines": _split,
}


def pay_for_width(text: str, width: Any = 80) -> None:
    """Pay for a text of so many characters. Raises as `pay_for_method` does."""
    pay_for_result("center", _whole(width))


def pay_for_indent(text: str, width: Any = 4, *_: Any, **__: Any) -> None:
    """Pay for lines that are indented. Raises as `pay_for_method` does."""
    size = len(width) if isinstance(width, str) else _whole(width)
    pay_for_result("indent", (len(text.splitlines()) + 1) * size)


def pay_for_wrap(text: str, width: Any = 79, *_: Any, wrapstring: Any = None, **__: Any) -> None:
    """Pay for a text that is broken into lines. Raises as `pay_for_method` does."""
    width = max(1, _whole(width))
    longest = max(map(len, text.split()), default=0)
    pay(len(text) * (longest // width + 1))
    pay_for_result("wordwrap", (len(text) // width + text.count("\n") + 1) * len(wrapstring or "\n"))


def check_precision(value: Any, precision: Any = 0, *_: Any) -> None:
    """Raise a ValueError if a number cannot be rounded to so many digits."""
    if abs(_whole(precision)) > 1000:
        raise ValueError("the precision of round should be between -1000 and 1000")


def pay_for_elements(value: Any, count: Any, *_: Any) -> None:
    """Pay for so many elements. Raises as `pay_for_method` does."""
    pay_for_result("a filter", _whole(count))


def pay_for_tags(text: str) -> None:
    """Pay for a text without its tags. Each tag that is removed copies the text."""
    pay(text.count("<") * len(text) >> 7)


def pay_for_sum(values: Any, attribute: Any = None, start: Any = 0) -> None:
    """Pay for a sum, also of lists, each of which is copied as often as there are lists after it."""
    if not isinstance(start, int | float) and isinstance(values, Collection):
        listed = cast(Collection[Any], values)
        pay(len(listed) * weight(listed) >> 7)
