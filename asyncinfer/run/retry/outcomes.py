"""The outcomes of the rows of a retry."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Generator, Iterator
from contextlib import ExitStack

from asyncinfer.dialects.fields import object_at
from asyncinfer.errors import InputError
from asyncinfer.run.retry.files import RetryFiles, indexed_lines
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation

_EVERY = 64  # rows


class RetryOutcomes:
    """Which rows of a retry are answered, and which have failed again. Needs 8 bytes per row.

    Attributes:
        answered: How many rows are answered.
    """

    def __init__(self) -> None:
        # For each row of the retry: i for line i of the answers, or -1 - i for line i of the new failures.
        self._lines = array("q")
        self.answered = 0

    def read(self, files: RetryFiles, rows: int) -> Generator[None]:
        """Find the outcome of each row. Blocks; yields every 64 rows.

        Args:
            rows: How many lines of the file of failed rows were retried, from the first.

        Raises:
            InputError: There are not as many outcomes as rows.
            OSError: A file cannot be read.
        """
        with ExitStack() as stack:
            answers = yield from indexed_lines(stack, files.answers)
            failures = yield from indexed_lines(stack, files.failed_again)
            if len(answers) + len(failures) != rows:
                raise InputError(f"{files.failures} has changed since its rows were sent; see {files.answers}")
            failed: dict[int, int] = {}
            for index in range(len(failures)):
                line = object_at(Conversation.from_json(failures[index]).metadata, FAILURE).get("row")
                assert isinstance(line, int), "the retry has written this file"
                failed[line] = -1 - index
                if index % _EVERY == 0:
                    yield
            self.answered = len(answers)
        answer_lines = itertools.count()
        self._lines = array("q", (failed[line] if line in failed else next(answer_lines) for line in range(rows)))

    def answer_line(self, line: int) -> int | None:
        """Return the line of the answer to the row in this line; None if it has none."""
        return found if line < len(self._lines) and (found := self._lines[line]) >= 0 else None

    def failure_line(self, line: int) -> int | None:
        """Return the line of the new failure of the row in this line; None if it was answered, or not tried."""
        return -1 - found if line < len(self._lines) and (found := self._lines[line]) < 0 else None

    def answered_lines(self) -> Iterator[int]:
        """Yield the lines whose rows are answered, in the order of the answers."""
        return (line for line, found in enumerate(self._lines) if found >= 0)
