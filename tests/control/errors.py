"""Errors of the kinds that the controller distinguishes."""

from __future__ import annotations

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.errors import ErrorScope


def fault(status: int = 500) -> RequestError:
    """An error status that is not a refusal; retryable from 500 on."""
    return RequestError(
        "broken", error_type=InferenceErrorType.API_STATUS, status_code=status, is_retryable=status >= 500
    )


def connection_lost() -> RequestError:
    return RequestError("connection reset", error_type=InferenceErrorType.CONNECTION, is_retryable=True)


def rejected(message: str = "no", status: int = 400, scope: ErrorScope = ErrorScope.UNKNOWN) -> RequestError:
    """A rejection, which is not retried."""
    return RequestError(message, error_type=InferenceErrorType.API_STATUS, status_code=status, scope=scope)


def quota(retry_after: float | None = None) -> RequestError:
    """A refusal because a quota is used up. It resets after `retry_after` seconds, or at an unknown time."""
    return RequestError(
        "quota exceeded",
        error_type=InferenceErrorType.API_STATUS,
        status_code=429,
        is_retryable=True,
        is_overload=True,
        retry_after=retry_after,
        is_quota=True,
    )
