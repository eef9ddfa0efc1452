"""What the batch jobs of Gemini and of Vertex have in common: states, and errors with codes of gRPC.

Sources, November 2026: Google's reference "Batch API" (`BatchState`), google-genai 3.6 (`JobState`), and
`google.rpc.Code`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.batch_fields import as_response
from asyncinfer.dialects.fields import as_object, count_at
from asyncinfer.types.batch import BatchStatus
from asyncinfer.types.http import HttpResponse

_STATES = {
    "QUEUED": BatchStatus.VALIDATING,
    "PENDING": BatchStatus.VALIDATING,
    "RUNNING": BatchStatus.IN_PROGRESS,
    "SUCCEEDED": BatchStatus.COMPLETED,
    "PARTIALLY_SUCCEEDED": BatchStatus.COMPLETED,
    "FAILED": BatchStatus.FAILED,
    "CANCELLING": BatchStatus.CANCELLING,
    "CANCELLED": BatchStatus.CANCELLED,
    "EXPIRED": BatchStatus.EXPIRED,
}
# The HTTP statuses of the codes of gRPC, as `google.rpc.Code` maps them.
_HTTP_STATUSES = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}


def state_in(value: object) -> BatchStatus | None:
    """Return the state that a name such as `JOB_STATE_RUNNING` or `BATCH_STATE_RUNNING` means; None if unknown."""
    return _STATES.get(value.partition("_STATE_")[2]) if isinstance(value, str) else None


def message_in(error: Any) -> str | None:
    """Return the message of a `google.rpc.Status`; None if there is no error."""
    if isinstance(error, str):
        return error or None
    fields = as_object(error)
    return str(fields.get("message") or f"error code {fields.get('code')}") if fields else None


def error_response(error: Mapping[str, Any]) -> HttpResponse:
    """Return the response that a `google.rpc.Status` stands for. Its code is one of gRPC, or an HTTP status.

    Raises:
        RequestError: The error is nested too deeply.
    """
    code = count_at(error, "code") or 2  # UNKNOWN
    status = _HTTP_STATUSES.get(code, 500) if code < 100 else code
    return as_response({"error": {**error, "code": status}}, status if 400 <= status <= 599 else 500)
