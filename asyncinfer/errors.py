"""Everything asyncinfer raises, named for what the caller may do about it.

AsyncInferError
├── ConfigError              a setting is wrong: mend the config, nothing has run
│   └── MissingDependencyError   an optional package is absent: run the `pip install` it names
├── InputError               the input has bad rows: mend them, nothing has run
├── RequestError             one row failed; the others go on
├── EngineDeadError          the engine can answer no row any more; what was finished is saved
│   └── EngineConfigError        its settings are why; also a ConfigError
├── ScratchError             results cannot be saved: free the disk or path, then run again to go on
│   └── ScratchLockedError       another run is saving to the same place
├── InferenceFailedError     some rows failed; `.result` has the others
├── RunInterruptedError      the run was stopped on request; run it again to resume
└── UnexpectedCancellationError  other code cancelled a part of the run or stream; run it again to resume
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncinfer.types.limits import LimitObservation


class AsyncInferError(Exception):
    """The root of the tree."""


class ConfigError(AsyncInferError, ValueError):
    """A setting is wrong. The message names the file, the dotted path and what is allowed."""


class MissingDependencyError(ConfigError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Run: pip install 'asyncinfer[{extra}]'")
        self.package, self.extra = package, extra


class InputError(AsyncInferError, ValueError):
    """The input cannot be used. The message lists the bad rows by line number (at most 20)."""


class InferenceErrorType(StrEnum):
    """What kind of failure ended a row."""

    API_STATUS = "api_status"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    PARSE_ERROR = "parse_error"
    CONFIG = "config"
    RUNTIME = "runtime"
    ENGINE_FAILURE = "engine_failure"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class ErrorScope(StrEnum):
    """Which rows an error concerns."""

    ROW = "row"
    """Only this row: a prompt that was flagged or is too long, a parameter that is not valid for it."""
    ACCOUNT = "account"
    """Every row of the run: a revoked key, an empty account, a missing model, a wrong URL."""
    UNKNOWN = "unknown"
    """The response does not say."""


class RequestError(AsyncInferError):
    """One attempt at one row failed. It holds facts; `control.retry` decides what follows from them.

    Args:
        is_overload: The endpoint refused because it is busy or a rate limit is reached.
        retry_after: The wait that the endpoint asked for, in seconds.
        scope: Which rows the error concerns.
        is_quota: The refusal is a quota of an hour, a day or longer, not a limit per second or minute.
            `retry_after` is then the time until the quota resets, where the endpoint says it.

    Attributes:
        limits: The endpoint's rate limits, as the response shows them.
    """

    def __init__(
        self,
        message: str,
        *,
        error_type: InferenceErrorType,
        status_code: int | None = None,
        is_retryable: bool = False,
        is_overload: bool = False,
        retry_after: float | None = None,
        scope: ErrorScope = ErrorScope.UNKNOWN,
        is_quota: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status_code = status_code
        self.is_retryable = is_retryable
        self.is_overload = is_overload
        self.retry_after = retry_after
        self.scope = scope
        self.is_quota = is_quota
        self.limits: Mapping[str, LimitObservation] | None = None


def invalid_request(why: str) -> RequestError:
    """The error for a row that no number of attempts can answer."""
    return RequestError(why, error_type=InferenceErrorType.CONFIG, scope=ErrorScope.ROW)


class EngineDeadError(AsyncInferError):
    """The engine cannot go on. Rows not yet finished fail; a new engine resumes them."""

    def __init__(self, message: str, *, error_type: InferenceErrorType, status_code: int | None = None) -> None:
        super().__init__(message)
        self.error_type, self.status_code = error_type, status_code


class EngineConfigError(EngineDeadError, ConfigError):
    """The engine can answer no row with these settings, as it turned out when it began."""


class ScratchError(AsyncInferError):
    """Finished rows cannot be saved. What was saved before stays, and the run can be resumed."""


class ScratchLockedError(ScratchError):
    """Another run holds the scratch file."""


class UnexpectedCancellationError(AsyncInferError):
    """A part of a run or stream was cancelled, or raised CancelledError, although its caller did not cancel it.

    Without this error the run would look complete. Saved rows stay saved; run it again to resume.
    """


def error_text(error: BaseException) -> str:
    """The text of a library's error, without the full stop; as Python shows it where that says more."""
    try:
        # `str` of a KeyError is only the name of the key.
        text = "" if isinstance(error, KeyError) else str(error).strip().rstrip(".")
        return text or repr(error)
    except Exception:  # `__str__` or `__repr__` of the class is faulty.
        return type(error).__name__


def error_str(error: BaseException) -> str:
    """`str(error)`; a substitute if that raises."""
    try:
        return str(error)
    except Exception:
        return "(its text cannot be shown)"


def error_repr(error: BaseException) -> str:
    """`repr(error)`; the name of its class if that raises."""
    try:
        return repr(error)
    except Exception:
        return type(error).__name__
