"""Writes the file of the failed rows of a run."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.errors import InputError
from asyncinfer.run.earlier_failures import EarlierFailures
from asyncinfer.run.failures import Failures, failed_line, failures_path, identity_fields, position_fields
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.items import InputItem
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.sources import Source
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import discard_temporary, replacing
from asyncinfer.types.paths import PATH_ERRORS, os_error_text
from asyncinfer.types.results import FailureDetail

log = logging.getLogger("asyncinfer")

_EVERY = 64  # rows


class FailedRows:
    """The file of the failed rows of a run. An earlier run may have written it.

    Args:
        output_path: The output of the run; None for a run that writes no files.
        source: The rows. None: they cannot be read again, so that the caller gets the failures, and the file does not.
        rows: The keys and checksums of the rows, from the first reading; None if they are not read again.
        with_checksums: Write the checksum of each row: a retry needs it if the output has the columns of the input.
    """

    def __init__(
        self,
        output_path: Path | None,
        source: Source | None = None,
        rows: ValidatedInput | None = None,
        *,
        with_checksums: bool = False,
    ) -> None:
        self._path = failures_path(output_path) if output_path is not None else None
        self._source, self._rows, self._with_checksums = source, rows, with_checksums

    async def write(
        self, failures: Failures, statuses: RowStatusTable, *, is_whole: bool, has_output: bool
    ) -> Path | None:
        """Replace the file, or remove it if it would be empty. Returns its path if rows of this run are in it.

        If the run does not have the outcomes of all rows of its job, the lines of an earlier run about other rows stay
        in the file. An error is logged: the answers are not lost, and the next run tries the failed rows again.

        Args:
            is_whole: Whether the run has the outcomes of all rows of its job.
            has_output: Whether the run has written its output.
        """
        path = self._path
        if path is None:
            return None
        own = failures if self._source is not None else Failures(keep_all=False)
        written = statuses if has_output else None
        try:
            with ExitStack() as stack:
                earlier = None if is_whole else stack.enter_context(closing(EarlierFailures(path)))
                if earlier is not None:
                    await in_slices(earlier.read(statuses, self._rows))
                if own.count or (earlier is not None and earlier.kept):
                    await in_slices(self._write(path, own, written, earlier))
                else:
                    await DISK.run(_remove, path)
        except InputError as error:
            log.warning("%s: the failed rows are not written: %s", path, error)
        except PATH_ERRORS as error:
            log.warning("%s: the failed rows cannot be written: %s", path, os_error_text(error))
        else:
            return path if own.count else None
        return None

    def _write(
        self, path: Path, failures: Failures, written: RowStatusTable | None, earlier: EarlierFailures | None
    ) -> Generator[None]:
        """Write the lines in the order of their rows. Blocks; yields every 64 rows.

        Each line is the row's conversation, with the reason in `metadata["failure"]`.

        Args:
            written: The rows of the output that this run has written; None if it has written none.
        """
        left, answered_before = failures.count, 0
        # The other rows of the job come after those of this run, which are all in the output or have failed.
        end = position_fields(written.fresh_count, written.fresh_count, len(written)) if written is not None else None
        with replacing(path) as file:
            for row, item in enumerate(self._items() if left else ()):
                if (failure := failures.of(row)) is not None:
                    position: Mapping[str, Any] = {}
                    if earlier is not None:
                        file.writelines(earlier.before(row, end))
                        position = earlier.position_of(row)
                    if written is not None:
                        position = position_fields(answered_before, written.fresh_count, len(written))
                    file.write(_line(item, row, failure, {**position, **self._identity(row, item)}))
                    left -= 1
                elif written is not None:
                    answered_before += written.is_fresh(row)
                if not left:
                    break
                if row % _EVERY == 0:
                    yield
            for count, line in enumerate(earlier.before(None, end) if earlier is not None else ()):
                file.write(line)
                if count % _EVERY == 0:
                    yield

    def _items(self) -> Iterator[InputItem]:
        """Yield the rows.

        Raises:
            InputError: The source has changed.
        """
        source, rows = self._source, self._rows
        if source is None or rows is None:
            return
        with closing(InputCursor(source, rows.checksums)) as cursor:
            for _, item in cursor.take(len(rows)):
                yield item

    def _identity(self, row: int, item: InputItem) -> Mapping[str, int | str]:
        row_key = self._rows.row_key(row) if self._rows is not None else None
        return identity_fields(row_key, item.checksum if self._with_checksums else None)


def _remove(path: Path) -> None:
    """Remove the file, and what a killed run may have left of it."""
    disk.remove(path)
    discard_temporary(path)


def _line(item: InputItem, row: int, failure: FailureDetail, fields: Mapping[str, int | str]) -> bytes:
    detail = {
        "row": row,
        "error_message": failure.error_message,
        "error_type": failure.error_type.value,
        "status_code": failure.status_code,
        "is_retryable": failure.is_retryable,
        **fields,
    }
    return failed_line(item.load(), detail)
