"""The failed rows of a run, counted by their reason; and the fields and lines of the file next to the output."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncinfer.control.run_end import without_details
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import CommonFailure, FailureDetail

_SUFFIX = ".failures.jsonl"
# The field of a failure with the checksum of its row of the input.
ROW_CHECKSUM = "row_checksum"
_SAMPLES = 20
# How many different reasons are counted.
_MOST_REASONS = 1000


def failures_path(output_path: Path) -> Path:
    """The file of the failed rows of a run that writes `output_path`."""
    return output_path.with_name(output_path.name + _SUFFIX)


class Failures:
    """The failed rows of one run. Needs 4 bytes per row, and keeps equal failures once.

    Args:
        keep_all: Keep the failure of every row. Otherwise only the first ones, as samples.

    Attributes:
        count: How many rows failed.
        retryable: How many of them another run may answer.
        samples: The first failures with their rows.
    """

    def __init__(self, *, keep_all: bool) -> None:
        self.count = self.retryable = 0
        self.samples: list[tuple[int, FailureDetail]] = []
        self.commonest: CommonFailure | None = None
        self._reasons: dict[str, CommonFailure] = {}
        self._keep_all = keep_all
        self._details: list[FailureDetail] = []
        self._numbers: dict[FailureDetail, int] = {}
        self._number_of_row = array("I")

    def add(self, row: int, failure: FailureDetail) -> None:
        """Record that a row failed."""
        self.count += 1
        self.retryable += failure.is_retryable
        if len(self.samples) < _SAMPLES:
            self.samples.append((row, failure))
        self._count_reason(failure.error_message)
        if self._keep_all:
            self._keep(row, failure)

    def of(self, row: int) -> FailureDetail | None:
        """Why the row failed; None if it did not."""
        number = self._number_of_row[row] if row < len(self._number_of_row) else 0
        return self._details[number - 1] if number else None

    def _count_reason(self, message: str) -> None:
        reason = without_details(message)
        known = self._reasons.get(reason)
        if known is None and len(self._reasons) >= _MOST_REASONS:
            return
        counted = CommonFailure(message, 1) if known is None else known._replace(rows=known.rows + 1)
        self._reasons[reason] = counted
        if self.commonest is None or counted.rows > self.commonest.rows:
            self.commonest = counted

    def _keep(self, row: int, failure: FailureDetail) -> None:
        number = self._numbers.get(failure)
        if number is None:
            self._details.append(failure)
            number = self._numbers[failure] = len(self._details)
        if row >= len(self._number_of_row):
            self._number_of_row.frombytes(bytes(self._number_of_row.itemsize * (row + 1 - len(self._number_of_row))))
        self._number_of_row[row] = number


def position_fields(position: int, output_rows: int, input_rows: int) -> dict[str, int | str]:
    """The fields of a failure that say where the answer to its row belongs.

    Args:
        position: How many earlier rows are in the output.
        output_rows: How many rows are in the output.
        input_rows: How many rows the run has read, from the first of the input.
    """
    return {"output_position": position, "output_rows": output_rows, "input_rows": input_rows}


def identity_fields(row_key: str | None, checksum: int | None) -> dict[str, int | str]:
    """The fields of a failure that say which row it is about.

    Args:
        row_key: The identity of the row, if it has one.
        checksum: The checksum of the row, if the output has the columns of the input: a retry then needs it.
    """
    fields = {ROW_KEY: row_key, ROW_CHECKSUM: checksum}
    return {name: value for name, value in fields.items() if value is not None}


def failed_line(conversation: Conversation, failure: Mapping[str, Any]) -> bytes:
    """The line of a failed row in the file of failed rows."""
    metadata = {**conversation.metadata, FAILURE: failure}
    return conversation.model_copy(update={"metadata": metadata}).to_json_bytes() + b"\n"
