"""Converts the log probabilities of vLLM's answers (vLLM 0.32, `SampleLogprobs`, November 2026)."""

from __future__ import annotations

from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.types.logprobs import alternative, token_logprob


def logprobs_of(part: Any, generation: GenerationParams) -> tuple[dict[str, Any], ...]:
    """The entries of the tokens in a part of an answer, in OpenAI's format. A token that ends the answer has none.

    Args:
        part: A `CompletionOutput`. Its `logprobs` has, for each token, an object with the chosen token and the most
            likely ones.
    """
    if not part.logprobs:
        return ()
    pairs = list(zip(part.token_ids, part.logprobs, strict=True))
    # The reason is the text of a stop string; the number or None for a token that ends the answer.
    if part.finish_reason == "stop" and not isinstance(part.stop_reason, str):
        pairs = pairs[:-1]
    return tuple(_entry(token, found, generation.top_logprobs or 0) for token, found in pairs)


def _entry(token: int, found: dict[int, Any], count: int) -> dict[str, Any]:
    tops = sorted((one for one in found.values() if one.rank is not None and one.rank <= count), key=_rank)
    chosen = found[token]
    alternatives = [alternative(one.decoded_token or "", one.logprob) for one in tops]
    return token_logprob(chosen.decoded_token or "", chosen.logprob, alternatives)


def _rank(logprob: Any) -> int:
    return logprob.rank
