"""The metadata of an answer: what the API says about its response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.finish_reasons import Finish
from asyncinfer.types.results import FinishReason

_LONGEST = 500


def metadata_of(
    finish: Finish | None, reason: FinishReason, described: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the metadata of an answer; None if there is none.

    Args:
        finish: The finish reason that the API sent. It is kept if it differs from the name of `reason`.
        reason: The finish reason of the answer.
        described: What the response says about itself; see `description`.
    """
    metadata = {**described} if described else {}
    if finish is not None and finish.text != reason.value:
        metadata["raw_finish_reason"] = finish.text
    return metadata or None


def description(
    *, response_id: Any = None, model: Any = None, fingerprint: Any = None, service_tier: Any = None
) -> dict[str, Any]:
    """Return what a response says about itself, by the names of the metadata. Only texts are kept."""
    given = (
        ("response_id", str(response_id) if type(response_id) is int else response_id),
        ("response_model", model),
        ("system_fingerprint", fingerprint),
        ("service_tier", service_tier),
    )
    return {name: value[:_LONGEST] for name, value in given if value and isinstance(value, str)}
