"""The failed rows of a run: counted by their reason, and written to a file next to the output."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.control.run_end import without_details
from asyncinfer.errors import InputError
from asyncinfer.run.items import InputItem, check_unchanged
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.sources import Source
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import discard_temporary, replacing
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.paths import PATH_ERRORS, os_error_text
from asyncinfer.types.results import CommonFailure, FailureDetail

log = logging.getLogger("asyncinfer")

_SUFFIX = ".failures.jsonl"
# The field of a failure with the checksum of its row of the input.
ROW_CHECKSUM = "row_checksum"
_SAMPLES = 20
# How many different reasons are counted.
_MOST_REASONS = 1000
_EVERY = 64  # rows


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


class FailedRows:
    """The file of the failed rows of a run.

    Args:
        output_path: The output of the run; None for a run that writes no files.
        checksums: The checksum of each row, from the first reading.
        row_key: Returns the identity of a row, as `row_key_text` writes it; None for a row that has none.
        has_rows: Whether the output has the columns of the input.
    """

    def __init__(
        self,
        output_path: Path | None,
        source: Source,
        checksums: array[int],
        row_key: Callable[[int], str | None] = lambda row: None,
        *,
        has_rows: bool = False,
    ) -> None:
        self._path = failures_path(output_path) if output_path is not None else None
        self._source, self._checksums, self._row_key, self._has_rows = source, checksums, row_key, has_rows

    async def write(self, failures: Failures, written: RowStatusTable | None = None) -> Path | None:
        """Replace the file, or remove it if no row failed. Returns its path if it was written.

        An error is logged: the answers are not lost, and the next run tries the failed rows again.

        Args:
            written: The rows of the output that this run has written; None if it has written none.
        """
        path = self._path
        if path is None:
            return None
        try:
            if failures.count:
                await in_slices(self._write(path, failures, written))
                return path
            await DISK.run(_remove, path)
        except InputError as error:
            log.warning("%s: the failed rows are not written: %s", path, error)
        except PATH_ERRORS as error:
            log.warning("%s: the failed rows cannot be written: %s", path, os_error_text(error))
        return None

    def _write(self, path: Path, failures: Failures, written: RowStatusTable | None) -> Generator[None]:
        """Write the failed rows in input order. Blocks; yields every 64 rows.

        Each line is the row's conversation, with the reason in `metadata["failure"]`.
        """
        left, before = failures.count, 0
        place: Mapping[str, int | str] = {}
        with replacing(path) as file:
            for row, item in enumerate(self._source.items()):
                check_unchanged(self._source.name, row, item, self._checksums)
                if (failure := failures.of(row)) is not None:
                    if written is not None:
                        checksum = item.checksum if self._has_rows else None
                        place = place_fields(before, written.fresh_count, self._row_key(row), checksum)
                    file.write(_line(item, row, failure, place))
                    left -= 1
                elif written is not None:
                    before += written.is_fresh(row)
                if not left:
                    break
                if row % _EVERY == 0:
                    yield


def _remove(path: Path) -> None:
    """Remove the file, and what a killed run may have left of it."""
    disk.remove(path)
    discard_temporary(path)


async def remove_failed_rows(output_path: Path | None) -> None:
    """Remove the file of the failed rows of an earlier run. An error is logged."""
    if output_path is None:
        return
    path = failures_path(output_path)
    try:
        await DISK.run(_remove, path)
    except PATH_ERRORS as error:
        log.warning("%s: the failed rows of an earlier run cannot be removed: %s", path, os_error_text(error))


def place_fields(
    position: int, output_rows: int, row_key: str | None, checksum: int | None = None
) -> Mapping[str, int | str]:
    """The fields of a failure that say where the answer to its row belongs.

    Args:
        position: How many earlier rows are in the output.
        output_rows: How many rows are in the output.
        row_key: The identity of the row, if it has one.
        checksum: The checksum of the row of the input, if the output has its columns.
    """
    fields: dict[str, int | str] = {"output_position": position, "output_rows": output_rows}
    if row_key is not None:
        fields[ROW_KEY] = row_key
    if checksum is not None:
        fields[ROW_CHECKSUM] = checksum
    return fields


def _line(item: InputItem, row: int, failure: FailureDetail, place: Mapping[str, int | str]) -> bytes:
    detail = {
        "row": row,
        "error_message": failure.error_message,
        "error_type": failure.error_type.value,
        "status_code": failure.status_code,
        "is_retryable": failure.is_retryable,
        **place,
    }
    return failed_line(item.load(), detail)


def failed_line(conversation: Conversation, failure: Mapping[str, Any]) -> bytes:
    """The line of a failed row in the file of failed rows."""
    metadata = {**conversation.metadata, FAILURE: failure}
    return conversation.model_copy(update={"metadata": metadata}).to_json_bytes() + b"\n"
