"""All exceptions of asyncinfer, and what the caller can do about each.

AsyncInferError
├── ConfigError                      A setting is wrong. Correct the configuration; nothing has run.
│   └── MissingDependencyError       An optional package is missing. Run the `pip install` command in the message.
├── InputError                       The input has invalid rows. Correct them; nothing has run.
│   └── UnreadableFileError          An image or document of a row cannot be read.
├── RequestError                     One row failed. The other rows continue.
│   └── InvalidAnswerError           The answer does not fit the `response_model`. (types/run_errors.py)
├── EngineDeadError                  The engine cannot answer any more rows. Finished rows are saved.
│   └── EngineConfigError            The settings of the engine are the reason. Also a ConfigError.
├── ScratchError                     Results cannot be saved. Free the disk or the path, then run again to resume.
│   └── ScratchLockedError           Another run is writing to the same file.
├── BatchError                       A batch job has no results. The message says what to do. Also a RuntimeError.
├── InferenceFailedError             Some rows failed. `.result` contains the other rows. (types/run_errors.py)
├── RunInterruptedError              The run was stopped on request. Run it again to resume. (types/run_errors.py)
│   └── SpendingLimitError           `max_cost` or `max_tokens` is reached. Raise it, and run again to resume.
└── UnexpectedCancellationError      Other code cancelled a part of the run or stream. Run it again to resume.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncinfer.types.limits import LimitObservation
    from asyncinfer.types.usage import Usage


# Control characters, those that change the direction of text, and half surrogate pairs. A terminal obeys
# some of them.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_WHITE_SPACE = {"\n": " ", "\t": " ", "\r": " "}


class AsyncInferError(Exception):
    """The base class of all exceptions of asyncinfer. They can be pickled, and keep their attributes."""

    def __reduce__(self) -> tuple[Callable[..., AsyncInferError], tuple[object, ...]]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[AsyncInferError], args: tuple[object, ...], attributes: dict[str, Any]) -> AsyncInferError:
    """Return a pickled error, without a call of its constructor, which may need other arguments."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigError(AsyncInferError, ValueError):
    """A setting is wrong. The message names the file, the dotted path and the allowed values."""


class MissingDependencyError(ConfigError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Run: pip install 'asyncinfer[{extra}]'")
        self.package, self.extra = package, extra


class InputError(AsyncInferError, ValueError):
    """The input cannot be used. The message lists the bad rows by line number (at most 20)."""


class UnreadableFileError(InputError):
    """An image or document that a row names by path cannot be read. Methods that report failed rows report this row."""


class InferenceErrorType(StrEnum):
    """The kind of failure that ended a row."""

    API_STATUS = "api_status"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    PARSE_ERROR = "parse_error"
    CONFIG = "config"
    RUNTIME = "runtime"
    ENGINE_FAILURE = "engine_failure"
    CANCELLED = "cancelled"
    INVALID_ANSWER = "invalid_answer"
    UNKNOWN = "unknown"


class ErrorScope(StrEnum):
    """Which rows an error concerns."""

    ROW = "row"
    """Only this row: its prompt was flagged or is too long, or a parameter is not valid for it."""
    ACCOUNT = "account"
    """Every row of the run: a revoked key, an empty account, a missing model, a wrong URL."""
    UNKNOWN = "unknown"
    """The response does not say."""


class RequestError(AsyncInferError):
    """One attempt at one row failed. The error contains facts; `control.retry` decides whether to retry.

    Args:
        message: It may contain text of a server: see `printable`.
        is_retryable: Another attempt at the same row may succeed.
        is_overload: The endpoint refused the request because it is busy or a rate limit is reached.
        retry_after: The wait that the endpoint requested, in seconds.
        scope: Which rows the error concerns.
        is_quota: A quota per hour, per day or longer is used up, not a limit per second or minute. `retry_after` is
            then the time until the quota resets, if the endpoint reports it.

    Attributes:
        limits: The endpoint's rate limits, as the response shows them.
        usage: The tokens of the failed attempts at this conversation, if the responses report them; otherwise None. In
            an `AttemptFailed` event: those of this attempt.
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
        super().__init__(printable(message))
        self.error_type = error_type
        self.status_code = status_code
        self.is_retryable = is_retryable
        self.is_overload = is_overload
        self.retry_after = retry_after
        self.scope = scope
        self.is_quota = is_quota
        self.limits: Mapping[str, LimitObservation] | None = None
        self.usage: Usage | None = None


def printable(text: str) -> str:
    """Return a text that is safe to show on a terminal, in one line. Other characters are written as escapes."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: _WHITE_SPACE.get(found[0]) or ascii(found[0])[1:-1], text)


def invalid_request(why: str) -> RequestError:
    """Return the error for a row that cannot be sent. No number of attempts would help."""
    return RequestError(why, error_type=InferenceErrorType.CONFIG, scope=ErrorScope.ROW)


class EngineDeadError(AsyncInferError):
    """The engine cannot continue. Unfinished rows fail. A new engine can resume them.

    Args:
        is_retryable: A new engine with the same settings may answer the rows.
    """

    def __init__(
        self,
        message: str,
        *,
        error_type: InferenceErrorType,
        status_code: int | None = None,
        is_retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.error_type, self.status_code, self.is_retryable = error_type, status_code, is_retryable


class EngineConfigError(EngineDeadError, ConfigError):
    """The engine cannot answer any row with these settings. This became clear when it started."""


class ScratchError(AsyncInferError):
    """Finished rows cannot be saved. Rows that were saved before are kept, and the run can be resumed."""


class ScratchLockedError(ScratchError):
    """Another run has locked the scratch file."""


class BatchError(AsyncInferError, RuntimeError):
    """A batch job of a provider has no results: it has not ended, it failed, or it was cancelled."""


class UnexpectedCancellationError(AsyncInferError):
    """A part of a run or stream was cancelled, or raised CancelledError, although its caller did not cancel it.

    Without this error the run would look complete. Saved rows are kept. Run it again to resume.
    """


def error_text(error: BaseException) -> str:
    """Return the text of an error from a library, without the full stop. Returns the repr if the text says less."""
    try:
        # `str` of a KeyError is only the name of the key.
        text = "" if isinstance(error, KeyError) else str(error).strip().rstrip(".")
        return text or repr(error)
    except Exception:  # `__str__` or `__repr__` of the class is faulty.
        return type(error).__name__


def error_str(error: BaseException) -> str:
    """Return `str(error)`; a substitute if that raises."""
    try:
        return str(error)
    except Exception:
        return "(its text cannot be shown)"


def error_name_and_text(error: BaseException) -> str:
    """Return the name of the class of an error, and its text if it has one: `KeyError: 'a'`."""
    text, name = error_str(error), type(error).__name__
    return f"{name}: {text}" if text else name


def error_repr(error: BaseException) -> str:
    """Return `repr(error)`; the name of its class if that raises."""
    try:
        return repr(error)
    except Exception:
        return type(error).__name__
