"""Errors that contain the results of a run, or a rejected answer."""

from __future__ import annotations

from asyncinfer.errors import AsyncInferError, ErrorScope, InferenceErrorType, RequestError
from asyncinfer.types.correction import Correction
from asyncinfer.types.results import InferenceResult, RunSummary
from asyncinfer.types.usage import Usage


class InferenceFailedError(AsyncInferError):
    """Some rows failed. `result` contains the answered rows, and the failures of the other rows."""

    def __init__(self, message: str, result: InferenceResult) -> None:
        super().__init__(message)
        self.result = result


class RunInterruptedError(AsyncInferError):
    """The run was stopped before it was complete. `summary` counts the saved rows."""

    def __init__(self, message: str, summary: RunSummary) -> None:
        super().__init__(message)
        self.summary = summary


class InvalidAnswerError(RequestError):
    """An answer was cut off, or does not fit the `response_model` of its call, also after the last retry.

    Or it could not be validated, because a validator of the model raised an error other than ValueError: then
    `error_type` is `runtime`, and `__cause__` is that error.

    Attributes:
        text: The text of the rejected answer.
        correction: What the model is told before it answers again; None if the conversation is not answered again.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        usage: Usage | None = None,
        correction: Correction | None = None,
        is_validated: bool = True,
    ) -> None:
        kind = InferenceErrorType.INVALID_ANSWER if is_validated else InferenceErrorType.RUNTIME
        super().__init__(message, error_type=kind, is_retryable=is_validated, scope=ErrorScope.ROW)
        self.text, self.usage, self.correction = text, usage, correction


class SpendingLimitError(RunInterruptedError):
    """The run ended because another request might exceed `max_cost` or `max_tokens`, or because requests used more than
    was reserved.

    Its rows are saved as those of any interrupted run. A run with a higher limit answers the others.
    """
