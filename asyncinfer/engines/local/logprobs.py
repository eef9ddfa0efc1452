"""Log probabilities of the tokens of a local model, from its raw scores: before penalties, biases and sampling."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from asyncinfer.types.logprobs import alternative, token_logprob

# The text of a token and its bytes; None for the bytes if they are those of the text, or unknown.
TokenText = Callable[[int], tuple[str, list[int] | None]]


def logprobs_of_token(scores: Any, token: int, count: int | None, text_of: TokenText) -> dict[str, Any]:
    """Return the entry of a chosen token, in OpenAI's format.

    Args:
        scores: The scores (logits) of all tokens, as a NumPy array. They are not changed.
        count: How many of the most likely tokens to add; None for none.
    """
    np: Any = import_module("numpy")
    wide = scores.astype("f8")
    highest = wide.max()
    total = highest + np.log(np.exp(wide - highest).sum())
    tops = [_alternative(wide, top, total, text_of) for top in _likeliest(wide, count or 0)]
    text, token_bytes = text_of(token)
    return token_logprob(text, float(wide[token] - total), tops, token_bytes)


def text_of_bytes(piece: bytes) -> tuple[str, list[int]]:
    """Return the text and the bytes of a token. Bytes that are no whole character become U+FFFD in the text."""
    return piece.decode("utf-8", "replace"), list(piece)


def _alternative(scores: Any, token: int, total: float, text_of: TokenText) -> dict[str, Any]:
    text, token_bytes = text_of(token)
    return alternative(text, float(scores[token] - total), token_bytes)


def _likeliest(scores: Any, count: int) -> list[int]:
    """Return the tokens with the highest scores, in descending order."""
    count = min(count, len(scores))
    if not count:
        return []
    found = (-scores).argpartition(count - 1)[:count]
    return [int(token) for token in found[(-scores[found]).argsort(kind="stable")]]
