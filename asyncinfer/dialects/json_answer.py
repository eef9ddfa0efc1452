"""Finds the JSON in the text of an answer: alone, in a fenced block, or with other text around it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from json import JSONDecoder
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.json_text import read_json

# A block between two fences of Markdown. The language behind the first fence is ignored.
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_OPENING = re.compile(r"[{\[]")
# A string, or a bracket.
_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_DECODER = JSONDecoder(strict=False)
# The values within the text of an answer that are looked at: the last ones.
_MOST_VALUES = 20


def json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values that the text of an answer may mean, the most likely ones first.

    These are the whole text, the contents of fenced blocks, and the objects and arrays with text around them. Later
    ones come first, because models write the result after their thoughts. A part of a larger value is not yielded, even
    if the larger one is not complete.
    """
    try:
        value = from_json(text.strip())
    except ValueError:
        yield from _values_in_prose(text)
        return
    yield value
    if isinstance(value, str):  # Some models write the JSON as a string.
        yield from _values_in_prose(value)


def _values_in_prose(text: str) -> Iterator[Any]:
    yield from _values_in_blocks(text)
    yield from islice(reversed(list(_embedded(text))), _MOST_VALUES)
    with suppress(ValueError, RecursionError):
        yield read_json(text.strip())


def _values_in_blocks(text: str) -> Iterator[Any]:
    blocks = [found[2] for found in _FENCED.finditer(text)]
    for block in islice(reversed(blocks), _MOST_VALUES):
        with suppress(ValueError, RecursionError):
            yield read_json(block.strip())


def _embedded(text: str) -> Iterator[Any]:
    """Yield the complete objects and arrays in a text, in their order."""
    for start, end in _bracketed(text):
        try:
            value, stop = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if stop == end:
            yield value


def _bracketed(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each text between outermost brackets begins and ends. One that is not closed has no end.

    Quotation marks count only within brackets: outside, they are a part of the prose.
    """
    depth, start, at = 0, 0, 0
    while (mark := (_MARKS if depth else _OPENING).search(text, at)) is not None:
        at = mark.end()
        if mark[0] in "{[":
            start = start if depth else mark.start()
            depth += 1
        elif mark[0] in "}]":
            depth -= 1
            if not depth:
                yield start, at
