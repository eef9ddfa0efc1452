"""Log probabilities of the tokens of an answer, in the format of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# OpenAI's value for a token that is very unlikely: `ChatCompletionTokenLogprob.logprob` of openai-python 3.57, November
# 2026. Infinities cannot be written as JSON.
_LOWEST = -9999.0
_HIGHEST = 1e300
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def token_logprob(
    token: str,
    logprob: float,
    alternatives: Iterable[dict[str, Any]] = (),
    token_bytes: list[int] | None = None,
) -> dict[str, Any]:
    """Return the entry of one token.

    Args:
        logprob: The natural logarithm of the probability of the token.
        alternatives: The most likely tokens at this place, as `alternative` returns them.
        token_bytes: The bytes of the token. By default, those of its text; None if the text has only a part of a
            character.
    """
    return {**alternative(token, logprob, token_bytes), "top_logprobs": [*alternatives]}


def alternative(token: str, logprob: float, token_bytes: list[int] | None = None) -> dict[str, Any]:
    """Return the entry of one of the most likely tokens. The arguments are those of `token_logprob`.

    A `logprob` that is infinite or not a number becomes -9999.0.
    """
    if token_bytes is None and _REPLACEMENT not in token:
        token_bytes = list(token.encode("utf-8", "surrogatepass"))
    return {"token": token, "logprob": float(logprob) if abs(logprob) <= _HIGHEST else _LOWEST, "bytes": token_bytes}
