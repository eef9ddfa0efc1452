"""Counts the lines of results, so that a page of a proxy, or a cut file, is not taken for results that lack rows.

Rows without a result are sent, and paid, again. So results must be known to be results.
"""

from __future__ import annotations

from asyncinfer.types.batch import BatchInfo, BatchStatus
from asyncinfer.types.http import malformed_response


class LineCounts:
    """How many lines of results could be read, and how many could not, in one download or several."""

    def __init__(self, read: int = 0, unreadable: int = 0) -> None:
        self.read, self.unreadable = read, unreadable

    def add(self, other: LineCounts) -> None:
        self.read += other.read
        self.unreadable += other.unreadable

    def check_format(self) -> None:
        """Raise RequestError for a download that is not a file of results, such as the page of a proxy."""
        if self.unreadable and not self.read:
            raise malformed_response("is not a file of results")

    def check_complete(self, info: BatchInfo, *, is_last_attempt: bool) -> None:
        """Raise RequestError for results that lack lines. At the last attempt, only for those without any line."""
        answers = info.completed_requests if info.status is BatchStatus.COMPLETED else 0
        if self.read >= answers and not self.unreadable:
            return
        if not is_last_attempt or (answers and not self.read):
            raise malformed_response(f"has {self.read:,} lines that can be read; the job has {answers:,} answers")
