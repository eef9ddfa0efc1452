"""Reads the log probabilities in answers of OpenAI's format, whole or streamed.

Formats, November 2026: `content` and `refusal`, lists of objects (openai-python 3.57, fireworks-ai 1.2); `tokens`,
`token_logprobs` and `top_logprobs`, lists side by side (together 3.1, the older format of Fireworks); a number for the
only token of an event (streams of Together). Entries that cannot be read are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from asyncinfer.dialects.fields import as_list, as_object
from asyncinfer.types.logprobs import alternative, token_logprob

Json = Mapping[str, Any]


def logprobs_in(choice: Json, text: Any = None) -> tuple[dict[str, Any], ...]:
    """Return the entries in a choice, or in a piece of one.

    Args:
        text: The text of this piece.
    """
    given: Any = choice.get("logprobs")
    if not given and not _is_number(given):
        return ()
    if _is_number(given):
        tops = _alternatives(choice.get("top_logprobs"))
        return (token_logprob(text, given, tops),) if isinstance(text, str) and text else ()
    fields = as_object(given)
    entries = fields.get("content") or fields.get("refusal")
    if isinstance(entries, list):
        return tuple(token_entries(as_list(entries)))
    return tuple(_side_by_side(fields))


def token_entries(given: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the entries in a list of objects."""
    for fields in map(as_object, given):
        token, logprob = fields.get("token"), fields.get("logprob")
        if isinstance(token, str) and _is_number(logprob):
            yield token_logprob(token, logprob, _alternatives(fields.get("top_logprobs")), _bytes(fields.get("bytes")))


def _side_by_side(fields: Json) -> Iterator[dict[str, Any]]:
    tokens, numbers, tops = (as_list(fields.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for place, (token, logprob) in enumerate(zip(tokens, numbers, strict=False)):
        if isinstance(token, str) and _is_number(logprob):
            yield token_logprob(token, logprob, _alternatives(tops[place] if place < len(tops) else None))


def _alternatives(given: Any) -> list[dict[str, Any]]:
    """Return the most likely tokens: a list of objects, or an object with the numbers by token."""
    if by_token := as_object(given):
        return [alternative(token, logprob) for token, logprob in by_token.items() if _is_number(logprob)]
    found = ((top.get("token"), top.get("logprob"), top.get("bytes")) for top in map(as_object, as_list(given)))
    return [
        alternative(token, logprob, _bytes(given_bytes))
        for token, logprob, given_bytes in found
        if isinstance(token, str) and _is_number(logprob)
    ]


def _bytes(value: Any) -> list[int] | None:
    values = as_list(value)
    return values if values and all(type(byte) is int and 0 <= byte < 256 for byte in values) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
