"""A regular expression, in Python's syntax, as a llama.cpp grammar (GBNF)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from asyncinfer.types.results import unanswerable

# llama.cpp writes repetitions out, and takes none larger.
MOST_REPEATED = 2000
# It follows all the ways in which these can be empty: a hundred take seconds for a token.
MOST_REPEATED_EMPTY = 20
_EMPTY = '""'
_SETS = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_WORD": "a-zA-Z0-9_",
    "CATEGORY_SPACE": " \\t\\n\\r\\x0B\\x0C",
}
_COMPLEMENTS = {
    "CATEGORY_NOT_DIGIT": "\\x01-/:-\\U0010FFFF",
    "CATEGORY_NOT_WORD": "\\x01-/:-@\\[-^`{-\\U0010FFFF",
    "CATEGORY_NOT_SPACE": "\\x01-\\x08\\x0E-\\x1F!-\\U0010FFFF",
}


def from_regex(pattern: str) -> str:
    """The grammar of the texts that `pattern` matches whole. Classes such as `\\d` and `\\w` mean ASCII.

    Raises:
        RequestError: it is no regular expression, or has what no grammar can say: a look around, a reference to
            a group, a boundary inside the text, flags.
    """
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(f"not a regular expression: {error}") from error
    # The only parser of Python's expressions; its tree has had this shape since Python 2.
    parsed: Any = import_module("re._parser").parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        raise _refused("flags are not supported: write out what they mean")
    return f"root ::= {_sequence(list(parsed), 1, edges=True) or _EMPTY}"


def _refused(why: str) -> Exception:
    return unanswerable(f"generation.guided_decoding.regex: {why}")


def _sequence(nodes: list[Any], repeated: int, *, edges: bool = False) -> str:
    """The nodes one after the other. `edges`: the ends of the text may be named there."""
    parts: list[str] = []
    for at, (op, argument) in enumerate(nodes):
        if str(op) == "AT":
            first, last = edges and at == 0, edges and at == len(nodes) - 1
            if not _is_edge(str(argument), first, last):
                raise _refused("boundaries are supported only at the ends of the text")
            continue
        parts.append(_node(str(op), argument, repeated, edges and len(nodes) == 1))
    return " ".join(part for part in parts if part)


def _is_edge(kind: str, first: bool, last: bool) -> bool:
    return (first and kind in ("AT_BEGINNING", "AT_BEGINNING_STRING")) or (last and kind in ("AT_END", "AT_END_STRING"))


def _node(op: str, argument: Any, repeated: int, edges: bool) -> str:
    match op:
        case "LITERAL":
            return f'"{_quoted(argument)}"'
        case "NOT_LITERAL":
            return f"[^{_in_set(argument)}]"
        case "ANY":
            return "[^\\n]"
        case "IN":
            return _set(argument)
        case "BRANCH":
            options = (_sequence(list(branch), repeated, edges=edges) or _EMPTY for branch in argument[1])
            return f"({' | '.join(options)})"
        case "SUBPATTERN" if not (argument[1] or argument[2]):
            return f"({_sequence(list(argument[3]), repeated, edges=edges) or _EMPTY})"
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, inner = argument
            return _repeat(low, high, inner, repeated)
        case _:
            raise _refused(f"{op.lower().replace('_', ' ')} is not supported by llama.cpp's grammars")


def _repeat(low: int, high: Any, inner: Any, repeated: int) -> str:
    endless = str(high) == "MAXREPEAT"
    times = repeated * max(low if endless else high, 1)
    if times > MOST_REPEATED:
        raise _refused(f"repetitions come to more than {MOST_REPEATED}")
    if times > MOST_REPEATED_EMPTY and not endless and inner.getwidth()[0] == 0:
        raise _refused(f"what may be empty is repeated more than {MOST_REPEATED_EMPTY} times")
    body = _sequence(list(inner), times)
    if not body:
        return ""
    if endless and low <= 1:
        return f"({body}){'+' if low else '*'}"
    return f"({body}){{{low},{'' if endless else high}}}"


def _set(items: Iterable[Any]) -> str:
    members = [(str(op), argument) for op, argument in items]
    negated = members[0][0] == "NEGATE"
    return f"[{'^' if negated else ''}{''.join(_members(members[negated:]))}]"


def _members(items: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for op, argument in items:
        if op == "LITERAL":
            yield _in_set(argument)
        elif op == "RANGE":
            yield f"{_in_set(argument[0])}-{_in_set(argument[1])}"
        else:
            yield {**_SETS, **_COMPLEMENTS}[str(argument)]


def _in_set(code: int) -> str:
    character = _quoted(code)
    return f"\\x{code:02X}" if character in ("-", "^", "]", "[") else character


def _quoted(code: int) -> str:
    """A character as GBNF writes it anywhere."""
    if code == 0 or 0xD800 <= code < 0xE000:
        raise _refused(f"llama.cpp cannot write the character U+{code:04X}")
    if code < 0x20 or chr(code) in '"\\':
        return f"\\x{code:02X}"
    return chr(code)
