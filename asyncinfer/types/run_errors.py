"""Errors that hold what a run has finished."""

from __future__ import annotations

from asyncinfer.errors import AsyncInferError
from asyncinfer.types.results import InferenceResult, RunSummary


class InferenceFailedError(AsyncInferError):
    """Rows failed. `result` holds the rows that were answered, and the reason for each that was not."""

    def __init__(self, message: str, result: InferenceResult) -> None:
        super().__init__(message)
        self.result = result


class RunInterruptedError(AsyncInferError):
    """The run was stopped before it was done. `summary` counts what is saved."""

    def __init__(self, message: str, summary: RunSummary) -> None:
        super().__init__(message)
        self.summary = summary
