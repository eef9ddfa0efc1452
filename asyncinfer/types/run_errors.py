"""Errors that contain the results of a run."""

from __future__ import annotations

from asyncinfer.errors import AsyncInferError
from asyncinfer.types.results import InferenceResult, RunSummary


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
