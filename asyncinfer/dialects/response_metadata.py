"""The metadata of an answer: what the API says about its response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncinfer.dialects.finish_reasons import Finish
from asyncinfer.types.answer import LOGPROBS
from asyncinfer.types.finish_reason import FinishReason

_LONGEST = 500
# The fields of a response in OpenAI's and in Anthropic's format, each with its name in the metadata.
NAMES = {
    "id": "response_id",
    "model": "response_model",
    "system_fingerprint": "system_fingerprint",
    "service_tier": "service_tier",
}


def metadata_of(
    finish: Finish | None, reason: FinishReason, described: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the metadata of an answer; None if there is none.

    Args:
        finish: The finish reason that the API sent. It is kept if it differs from the name of `reason`.
        reason: The finish reason of the answer.
        described: What the response says about itself; see `description`.
    """
    if finish is None or finish.text == reason.value:
        return {**described} if described else None
    return {**(described or {}), "raw_finish_reason": finish.text}


def logprobs_metadata(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata with the log probabilities of an answer; an empty dict if there are none."""
    return {LOGPROBS: [*entries]} if entries else {}


def description(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what a response says about itself. Only texts are kept, and a whole number as an id.

    Args:
        names: The fields of `data`, each with its name in the metadata.
    """
    found: dict[str, Any] = {}
    for key, name in names.items():
        value = data.get(key)
        if type(value) is int:
            value = str(value)
        if value and isinstance(value, str):
            found[name] = value[:_LONGEST]
    return found
