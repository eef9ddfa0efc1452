"""Reads the JSON that servers send, and repairs its text where a strict parser refuses it.

Strict parsers refuse half of a surrogate pair, bytes that are not UTF-8, a byte order mark, control characters within a
string, numbers with thousands of digits, and bytes after the end of the value. None of these makes an answer
incomplete.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from json import JSONDecoder
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.json_size import has_too_many_values

# A string, and a number with more digits than a parser reads.
_STRING = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|(?<![0-9])-?[0-9]{4301,}[0-9.eE+-]*', re.DOTALL)
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# A whole pair, half a pair, and a run of other escapes.
_PARTS = re.compile(rf"{_HIGH}{_LOW}|({_HIGH})|({_LOW})|(?:\\[^u])++|\\.", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPED = {code: f"\\u{code:04x}" for code in range(32)}
# Repairing takes up to 1 us for each of these characters, and blocks the event loop.
_MARKS = ('"', "\\", *map(chr, range(32)))
_MOST_MARKS = 1_000_000
# No stream has more events. Finding one takes about 5 us.
_MOST_VALUES = 50_000
_LOW_FIRST = re.compile(rf'"{_LOW}')
# The keys of the texts of an answer.
_TEXT_KEYS = frozenset({'"content"', '"text"'})
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_DECODER = JSONDecoder(strict=False)


def read_json(text: bytes | str) -> Any:
    """Return the first JSON value in a text.

    A character that cannot be read becomes U+FFFD, and a number with thousands of digits a text. Anything after an
    object or an array is ignored.

    Raises:
        ValueError: The text does not begin with a complete value.
    """
    try:
        return from_json(text)
    except ValueError as error:
        return _read_repaired(text, _StringRepair(), error)


class EventJson:
    """Reads the JSON of the events of one stream, as `read_json` does.

    Some servers cut a text between the halves of a surrogate pair. The halves are joined in the next event that has a
    text under the same key. If that text does not begin with a second half, U+FFFD is put before it.
    """

    __slots__ = ("_repair",)

    def __init__(self) -> None:
        self._repair = _StringRepair(joins=True)

    def read(self, text: bytes | str) -> Any:
        """Return the JSON value of one event.

        Raises:
            ValueError: The text does not begin with a complete value.
        """
        try:
            value = from_json(text)
        except ValueError as error:
            return _read_repaired(text, self._repair, error)
        if self._repair.half and isinstance(value, dict):
            return _read_repaired(text, self._repair, ValueError("too many strings"))
        return value

    def rest(self) -> str:
        """Return U+FFFD if the text of the answer ended with half of a surrogate pair; otherwise an empty text."""
        return _REPLACEMENT if self._repair.half and self._repair.key in _TEXT_KEYS else ""


def values_in(body: bytes) -> list[str]:
    """Return the JSON texts of the objects in a body: one per line, one after the other, or in one list.

    The list ends before the first text that is not an object. It is empty if there are more than 50,000 objects.
    """
    if has_too_many_values(body):
        return []
    text = _decoded(body)
    found: list[str] = []
    at = _next_object(text, 1 if text.startswith("[") else 0)
    while at is not None and (end := _end_of_value(text, at)) is not None:
        if len(found) == _MOST_VALUES:
            return []
        found.append(text[at:end])
        at = _next_object(text, end)
    return found


class _StringRepair:
    """Repairs the strings of JSON texts.

    Args:
        joins: Keep a first half at the end of a string, to join it with a second half that begins a later string.

    Attributes:
        half: The first half that was kept.
        key: The key of its string, in quotation marks.
    """

    __slots__ = ("_before", "_here", "_joins", "half", "key")

    def __init__(self, *, joins: bool = False) -> None:
        self._joins, self.half, self.key, self._here = joins, "", "", ""
        self._before: re.Match[str] | None = None

    def __call__(self, match: re.Match[str]) -> str:
        string = match[0]
        if string[0] != '"':
            return f'"{string}"'
        if _CONTROL.search(string):
            string = string.translate(_ESCAPED)
        self._here, self._before = _key_of(match, self._before) if self._joins else "", match
        if self.half and self._here == self.key and string != '""':
            first = self.half if _LOW_FIRST.match(string) else _REPLACEMENT
            string, self.half = f'"{first}{string[1:]}', ""
        return _PARTS.sub(self._repaired_part, string)

    def _repaired_part(self, part: re.Match[str]) -> str:
        is_last = part.end() == len(part.string) - 1
        if part[1] and self._joins and is_last:
            self.half, self.key = part[1], self._here
            return ""
        if part[1] or part[2]:
            return _REPLACEMENT
        return part[0]


def _key_of(match: re.Match[str], before: re.Match[str] | None) -> str:
    """Return the key of the string that was matched; an empty text if it has none."""
    if before is None or before.string is not match.string:
        return ""
    return before[0] if match.string[before.end() : match.start()].strip() == ":" else ""


def _read_repaired(text: bytes | str, repair: _StringRepair, error: ValueError) -> Any:
    decoded = _decoded(text)
    if decoded[:1] not in ("{", "[", '"'):
        raise error
    if sum(map(decoded.count, _MARKS)) > _MOST_MARKS:
        raise error
    repaired = _STRING.sub(repair, decoded)
    return from_json(repaired[: _end_of_value(repaired)])


def _decoded(text: bytes | str) -> str:
    """Return the text without a byte order mark and white space at its beginning."""
    if isinstance(text, bytes):
        encoding = "utf-16" if text.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
        text = text.decode(encoding, "replace")
    return text.lstrip("\ufeff \t\r\n")


def _next_object(text: str, at: int) -> int | None:
    """Return where the next object begins, if only separators come before it."""
    while at < len(text) and text[at] in "\x1e, \t\r\n":
        at += 1
    return at if text.startswith("{", at) else None


def _end_of_value(text: str, at: int = 0) -> int | None:
    """Return where the object or array at a place ends; None if it is not complete."""
    try:
        return _DECODER.raw_decode(text, at)[1] if text.startswith(("{", "["), at) else None
    except (ValueError, RecursionError):
        return None
