"""Decides when a run ends early because every other row would fail too.

| failures, with no answer in between | the run ends after |
|---|---|
| an error that concerns the account: revoked key, no credit, missing model | 3 rows; 2 before any answer |
| a quota that resets later than `max_wait`, or at an unknown time | 3 refusals |
| the same rejection, of unknown scope | 20 rows |
| all retries of a row are used up, and the endpoint has never answered | 3 rows |
| only faults, and the endpoint has never answered | 60 s |
| an outage | `max_outage` seconds |

With fewer such failures the run goes on: only the rows fail.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from asyncinfer.control.aside import refuses_every_row
from asyncinfer.errors import (
    EngineConfigError,
    EngineDeadError,
    ErrorScope,
    InferenceErrorType,
    RequestError,
    error_text,
)
from asyncinfer.types.times import duration_text

# The numbers in the table above.
_FIRST_ACCOUNT_ROWS, _ACCOUNT_ROWS, _QUOTA_REFUSALS, _SIMILAR_ROWS, _EXHAUSTED_ROWS = 2, 3, 3, 20, 3
_ACCOUNT_ADVICE = ". Check the API key and its permissions, the model's name and the URL"
# The time that an endpoint has for its first answer, because it may still be starting (seconds).
_START_SECONDS = 60.0
# What differs between the messages of rows that fail for the same reason: numbers and quoted texts.
_DETAILS = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|`[^`]*`")


def without_details(message: str) -> str:
    """The beginning of a message, without numbers and quoted texts: similar failures have it in common."""
    return _DETAILS.sub("", message)[:200]


class RunEnd(NamedTuple):
    """Why a run ends early.

    Args:
        message: The reason, and what the user can do.
        is_config: No row of the run was answered, so a setting is probably wrong.
    """

    message: str
    is_config: bool = False

    def error(self, cause: RequestError) -> EngineDeadError:
        """The error to raise. `cause`: the last failure."""
        kind = EngineConfigError if self.is_config else EngineDeadError
        return kind(
            self.message,
            error_type=cause.error_type,
            status_code=cause.status_code,
            is_retryable=cause.is_retryable,
        )


class FailurePattern:
    """Watches the failures of one run, and decides when it ends early.

    Args:
        endpoint: The name of the endpoint in messages.
        max_wait: The longest wait that the endpoint may request, in seconds.
        max_outage: Seconds without an answer after which the run ends.
    """

    def __init__(self, endpoint: str, max_wait: float, max_outage: float) -> None:
        self._endpoint, self._max_wait, self._max_outage = endpoint, max_wait, max_outage
        # Whether a row was answered; and whether a row was answered, or was rejected for a reason of its own.
        self._has_answered = self._has_worked = False
        self._account = self._quota = self._exhausted = 0
        self._similar: tuple[str, int] = ("", 0)

    def answered(self) -> None:
        """A row was answered."""
        self._has_answered = True
        self._works()

    def _works(self) -> None:
        """The endpoint works and accepts the key, so earlier failures do not concern every row."""
        self._has_worked = True
        self._account = self._quota = self._exhausted = 0
        self._similar = ("", 0)

    def failed(
        self,
        error: RequestError,
        *,
        is_final: bool,
        out_for: float,
        ever_answered: bool = True,
        is_only_row: bool = False,
        is_elsewhere: bool = False,
    ) -> RunEnd | None:
        """An attempt failed. Returns the end of the run if every other row would fail too.

        Args:
            is_final: The row is not tried again.
            out_for: Seconds since the outage began; 0 without an outage.
            ever_answered: The endpoint has answered any row of the engine.
            is_only_row: The run has no other row.
            is_elsewhere: Another endpoint may answer the rows that this one refuses.
        """
        if error.scope is ErrorScope.ROW:
            self._works()
            return None
        if out_for >= self._max_outage:
            why = (
                f"no row was answered for {duration_text(out_for)} (remote_params.max_outage). The last error: {error}"
            )
            return RunEnd(f"{self._endpoint}: {why}")
        if not ever_answered and not error.is_overload and out_for >= _START_SECONDS:
            return self._never_answered(error)
        if is_elsewhere and (refuses_every_row(error, self._max_wait) or not is_final):
            return None
        if error.is_overload:
            return self._refused(error)
        if error.is_retryable:
            return self._out_of_retries(error) if is_final else None
        return self._rejected(error, is_only_row=is_only_row)

    def _refused(self, error: RequestError) -> RunEnd | None:
        if not refuses_every_row(error, self._max_wait):
            return None
        wait = error.retry_after
        self._quota += 1
        if self._quota < _QUOTA_REFUSALS:
            return None
        when = f" for {duration_text(wait or 0.0)}, longer than remote_params.max_wait" if wait is not None else ""
        what = "a quota is used up" if error.is_quota else "the endpoint requests a wait"
        return RunEnd(f"{self._endpoint}: {what}{when}. The last refusal: {error}")

    def _rejected(self, error: RequestError, *, is_only_row: bool) -> RunEnd | None:
        if error.scope is ErrorScope.ACCOUNT:
            self._account += 1
            enough = _ACCOUNT_ROWS if self._has_worked else _FIRST_ACCOUNT_ROWS
            if self._account < enough and not is_only_row:
                return None
            advice = "" if _names_its_cause(error) else _ACCOUNT_ADVICE
        else:
            text = f"{error.status_code} {without_details(str(error))}"
            self._similar = (text, self._similar[1] + 1 if text == self._similar[0] else 1)
            if self._similar[1] < _SIMILAR_ROWS:
                return None
            advice = f". {_SIMILAR_ROWS} rows in a row were rejected like this. Check the settings"
        return RunEnd(f"{self._endpoint}: {error_text(error)}{advice}", is_config=not self._has_answered)

    def _out_of_retries(self, error: RequestError) -> RunEnd | None:
        self._exhausted += 1
        if self._has_worked or self._exhausted < _EXHAUSTED_ROWS:
            return None
        return self._never_answered(error)

    def _never_answered(self, error: RequestError) -> RunEnd:
        advice = "Check that the server is up, and remote_params.api_url"
        return RunEnd(f"{self._endpoint}: no request was answered. {advice}. The last error: {error}")


def _names_its_cause(error: RequestError) -> bool:
    """Whether the message says what to correct: a setting, a certificate, or a redirection. An API's own may not."""
    is_redirect = error.status_code is not None and 300 <= error.status_code < 400
    return is_redirect or error.error_type in (InferenceErrorType.CONFIG, InferenceErrorType.CONNECTION)
