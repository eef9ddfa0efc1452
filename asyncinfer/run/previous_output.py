"""The answers in the output of an earlier run: they are reused, or a warning says that they are sent again."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_count import count_rows
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import Row
from asyncinfer.scratch.finished import FinishedOutput
from asyncinfer.types.paths import PATH_ERRORS, os_error_text

log = logging.getLogger("asyncinfer")

_EVERY = 64  # lines


class PreviousOutput:
    """The answers that `output_path` holds when a run begins.

    With `reuse`, rows take their answers from there. Without it, a warning is logged before such rows are sent again.
    Answers can be found only in plain JSONL files of conversations.

    Args:
        limit: The most rows of this run, as the user has set it. A run of some rows for a trial must not replace the
            answers to more rows.
        has_cache: Whether rows may get their answers from a cache, and are not sent then.

    Attributes:
        output: The file, while it is open; None if there is none.
        is_finished: Whether the job looks finished although no row can be matched with its answer: the file is not
            plain JSONL, and has as many rows as the input. Known after `mark_rows`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        reuse: bool,
        layout: OutputLayout,
        limit: int | None = None,
        has_cache: bool = False,
    ) -> None:
        if reuse and path is None:
            raise ConfigError("reuse_output: set output_path too; the answers are taken from that file")
        if reuse and not layout.is_plain:
            raise ConfigError(
                f"reuse_output: {path} does not hold what identifies a row; answers can be taken only from an "
                "uncompressed JSONL file of conversations. Leave reuse_output out to send all rows"
            )
        self._path, self._reuse, self._layout, self._limit = path, reuse, layout, limit
        self._unless_cached = " that are not in the cache" if has_cache else ""
        self.output: FinishedOutput | None = None
        self.is_finished = False
        self._spans: dict[tuple[bytes, int], tuple[int, int]] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Keep the file open during the block, if there is one.

        Raises:
            ConfigError: `reuse` is set, and the file cannot be read.
        """
        if self._path is not None:
            self.output = await DISK.run(self._open, self._path)
        try:
            yield
        finally:
            if self.output is not None:
                with anyio.CancelScope(shield=True):
                    await DISK.run(self.output.close)

    def find_rows(self, rows: ValidatedInput, statuses: RowStatusTable) -> Generator[None]:
        """Find the rows whose answer is in the output but not in the scratch file. Blocks; yields every 64 lines.

        Raises:
            ConfigError: As in `opened`, or the output has answers to more rows than the limit allows.
        """
        count, others, known = 0, 0, 0
        counted = (-1, 0)  # A line may contain several row keys; count it once.
        for number, (row, span) in enumerate(self._matches(rows)):
            if row is None:
                if span != counted:
                    others, counted = others + 1, span
            elif statuses.saved(row):
                known += 1
            else:
                count += 1
                if self._reuse:
                    statuses.mark_in_output(row, *span)
            if number % _EVERY == 0:
                yield
        yield from self._check_limit(count + others + known)
        if count and not self._reuse:
            self._warn_of_answers(f"answers to {count} of these {len(rows)} rows")
        if others:
            self._warn_of_loss(f"{others} answer(s) to rows that are not in this input, or of other settings")
        if not (count or others or known):
            self._warn_of_foreign_content(statuses.saved_count)

    def mark_rows(self, rows: ValidatedInput, statuses: RowStatusTable) -> Generator[None]:
        """As `find_rows`, but always let rows take their answers from the output. Warns only if that is impossible."""
        answers, counted = 0, (-1, 0)
        for number, (row, span) in enumerate(self._matches(rows)):
            answers, counted = answers + (span != counted), span
            if row is not None and not statuses.saved(row):
                statuses.mark_in_output(row, *span)
            if number % _EVERY == 0:
                yield
        yield from self._check_limit(answers)
        if self._has_unmatched_rows():
            yield from self._look_at_count(len(rows), statuses.saved_count)

    def _look_at_count(self, rows: int, saved: int) -> Generator[None]:
        """Find out from the number of its rows whether the output is that of a finished job."""
        try:
            answers = 0 if saved else (yield from self._row_count())
        except InputError:
            answers = 0
        self.is_finished = answers == rows > 0
        what = f"the rows of the pilot{self._unless_cached} are sent, except those that the scratch file has"
        if self.is_finished:
            what = (
                f"it has {answers} rows, as many as the input, so the job counts as finished and nothing is sent. For "
                "an estimate of other settings or other rows, choose another output_path"
            )
        log.warning("%s exists already. Its answers cannot be read back: %s", self._path, what)

    def _has_unmatched_rows(self) -> bool:
        """Whether the file has content in which no row can be found by its key."""
        return not self._layout.is_plain and self.output is not None and bool(self.output.size)

    def _warn_of_foreign_content(self, saved: int) -> None:
        """Warn if the file has content, but no answers that can be matched with rows.

        Args:
            saved: How many rows have answers in the scratch file.
        """
        if self._has_unmatched_rows():
            again = f"Its rows{self._unless_cached} are sent again, and the file is replaced at the end."
            if saved:
                again = (
                    f"It is replaced at the end. {saved} rows have saved answers in the scratch file and are not sent "
                    f"again; all others{self._unless_cached} are sent."
                )
            log.warning(
                "%s exists already. %s To keep it, stop and copy the file, or choose another output_path.",
                self._path,
                again,
            )
        elif self.output is not None and self.output.size:
            self._warn_of_loss("content that is not from a run")

    def _check_limit(self, answers: int) -> Generator[None]:
        """Raise a ConfigError if the file has more answers than the limit. Blocks; yields every 64 rows.

        Args:
            answers: How many answers were found by their row keys. Without any, all rows of the file count.
        """
        if self._limit is None:
            return
        way_out = "Choose another output_path for a run with a limit, or move the file away"
        try:
            answers = answers or (yield from self._row_count())
        except InputError as error:
            raise ConfigError(
                f"limit: {self._path} exists already, and its rows cannot be counted: {error}. {way_out}"
            ) from None
        if answers > self._limit:
            raise ConfigError(
                f"limit: {self._path} has {answers} answers, and this run would replace them with at most "
                f"{self._limit}. {way_out}"
            )

    def _row_count(self) -> Generator[None, None, int]:
        """Count all rows of the file. Raises an InputError if it is not of the layout of this run."""
        if self._path is None or self.output is None or not self.output.size:
            return 0
        return (yield from count_rows(self._path, self._layout))

    def _warn_of_loss(self, what: str) -> None:
        log.warning(
            "%s holds %s. That is lost when the file is replaced at the end. To keep it, stop and copy the file, or "
            "choose another output_path.",
            self._path,
            what,
        )

    def index(self, saved: int) -> Generator[None]:
        """Index the answers, for `claim`. Blocks; yields every 64 lines. Raises as `find_rows` does.

        Args:
            saved: How many answers the scratch file has.
        """
        for number, (identity, span) in enumerate(self._lines()):
            self._spans.setdefault(identity, span)
            if number % _EVERY == 0:
                yield
        yield from self._check_limit(len(self._spans))
        if self._spans and self._reuse:
            self._warn_of_loss(f"{len(self._spans)} answer(s), perhaps also to rows that do not come again")
        if not self._spans:
            self._warn_of_foreign_content(saved)

    def claim(self, row: Row, statuses: RowStatusTable) -> bool:
        """With `reuse`, let the row take its answer from the output. Returns whether there is one."""
        span = self._spans.get((row.key, row.n))
        if span is not None and self._reuse:
            statuses.mark_in_output(row.index, *span)
            return True
        if span is not None:
            self._spans.clear()  # The warning is logged once.
            self._warn_of_answers("answers to rows that are run now")
        return False

    def _warn_of_answers(self, what: str) -> None:
        log.warning(
            "%s already holds %s. The rows%s are sent again, and the file is replaced at the end. To take the answers "
            "from the file, stop and set reuse_output: true (on the command line: --reuse).",
            self._path,
            what,
            self._unless_cached,
        )

    def _matches(self, rows: ValidatedInput) -> Generator[tuple[int | None, tuple[int, int]]]:
        expected = 0
        for (key, n), span in self._lines():
            row = rows.row_of(key, n, expected)
            if row is not None:
                expected = row + 1
            yield row, span

    def _lines(self) -> Generator[tuple[tuple[bytes, int], tuple[int, int]]]:
        if self.output is None or not self._layout.is_plain:
            return
        try:
            for line in self.output.lines():
                yield (line.key, line.n), (line.offset, line.length)
        except OSError as error:
            self._unreadable(error)

    def _open(self, path: Path) -> FinishedOutput | None:
        try:
            return FinishedOutput(path)
        except FileNotFoundError:
            return None
        except PATH_ERRORS as error:
            return self._unreadable(error)

    def _unreadable(self, error: Exception) -> None:
        if self._reuse:
            raise ConfigError(f"reuse_output: {self._path} cannot be read: {os_error_text(error)}") from None
        log.info("%s cannot be read: %s; it is replaced at the end", self._path, os_error_text(error))
