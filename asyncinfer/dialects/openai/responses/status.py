"""The status of a response of the Responses API: finished, failed, or still in progress.

Sources: `ResponseStatus`, `IncompleteDetails` and `ResponseError` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.fields import object_at
from asyncinfer.dialects.finish_reasons import Finish, finish_in
from asyncinfer.dialects.openai.response import error_in
from asyncinfer.errors import RequestError
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.http import malformed_response

IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"
_UNFINISHED = frozenset({IN_PROGRESS, "queued"})
_WITHOUT_ANSWER = frozenset({"failed", "cancelled"})


def finish_of(response: Mapping[str, Any], status: Any) -> Finish | None:
    """Return the finish reason of a response with this status; None without a status."""
    if status == INCOMPLETE:
        reason = finish_in(object_at(response, "incomplete_details").get("reason"))
        return reason or Finish(FinishReason.UNKNOWN, INCOMPLETE)
    return finish_in(status)


def problem_of(response: Mapping[str, Any], status: Any, body: bytes) -> RequestError | None:
    """Return why a response with this status has no answer; None if it may have one."""
    if status in _UNFINISHED:
        return malformed_response(f"has no answer yet: its status is {status!r}")
    if status in _WITHOUT_ANSWER:
        error = response.get("error")
        return error_in(error, body) if error else malformed_response(f"has no answer: its status is {status!r}")
    return None
