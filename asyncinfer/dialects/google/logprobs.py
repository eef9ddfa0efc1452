"""Reads the log probabilities in answers of Gemini's own API.

Source: `LogprobsResult` in Google's "Generate content" reference and google-genai 3.6, November 2026. Entries that
cannot be read are left out.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.dialects.fields import as_list, as_object
from asyncinfer.types.logprobs import alternative, token_logprob


def logprobs_of(result: Any) -> tuple[dict[str, Any], ...]:
    """Return the entries in a `logprobsResult`, in OpenAI's format."""
    if not result:
        return ()
    chosen, tops = (as_list(as_object(result).get(name)) for name in ("chosenCandidates", "topCandidates"))
    entries: list[dict[str, Any]] = []
    for place, one in enumerate(chosen):
        if (read := _read(one)) is not None:
            top = as_list(as_object(tops[place]).get("candidates")) if place < len(tops) else []
            found = (_read(candidate) for candidate in top)
            entries.append(token_logprob(*read, [alternative(*pair) for pair in found if pair is not None]))
    return tuple(entries)


def _read(candidate: Any) -> tuple[str, float] | None:
    """Return the token and the logarithm of its probability, which is left out if it is 0."""
    fields = as_object(candidate)
    token, logprob = fields.get("token"), fields.get("logProbability", 0.0)
    return (token, logprob) if isinstance(token, str) and type(logprob) in (int, float) else None
