"""Batch jobs and files of a provider, as the engine's methods return them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Any

from asyncinfer.types.conversation import Conversation
from asyncinfer.types.short_repr import ShortRepr


class BatchStatus(StrEnum):
    """The state of a batch job."""

    VALIDATING = "validating"
    """The provider checks the file of requests."""
    IN_PROGRESS = "in_progress"
    """Requests are answered, or wait for it."""
    FINALIZING = "finalizing"
    """All requests are answered. The provider writes the results."""
    COMPLETED = "completed"
    """The results are ready. Some requests may have failed."""
    FAILED = "failed"
    """The job as a whole failed, for instance because its file is not valid."""
    EXPIRED = "expired"
    """The time for the job ended before every request was answered. There may be results."""
    CANCELLING = "cancelling"
    """Somebody cancelled the job, and the provider is ending it."""
    CANCELLED = "cancelled"
    """The job was cancelled. There may be results."""


_TERMINAL = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})


@dataclass(frozen=True, repr=False)
class BatchInfo(ShortRepr):
    """A batch job. Times are in UTC. Fields that the provider does not report are None or 0.

    Args:
        total_requests: The number of requests of the job.
        completed_requests: The number of answered requests.
        failed_requests: The number of requests that ended without an answer.
        endpoint: The path of the API that answers the requests.
        input_file_id: The file with the requests.
        batch_completion_window: The time in which the job must be done, such as `24h`.
        output_file_id: The file with the answers.
        error_file_id: The file with the failed requests.
        error: Why the job failed.
        metadata: The tags that the client gave the job, and what the provider reports besides the other fields.
    """

    id: str
    status: BatchStatus
    total_requests: int = 0
    completed_requests: int = 0
    failed_requests: int = 0
    endpoint: str | None = None
    input_file_id: str | None = None
    batch_completion_window: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    error: str | None = None
    created_at: datetime | None = None
    in_progress_at: datetime | None = None
    expires_at: datetime | None = None
    finalizing_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    expired_at: datetime | None = None
    canceling_at: datetime | None = None
    canceled_at: datetime | None = None
    metadata: dict[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, successfully or not."""
        return self.status in _TERMINAL

    @property
    def completion_percentage(self) -> float:
        """The share of answered requests, from 0 to 100."""
        return 100 * self.completed_requests / self.total_requests if self.total_requests > 0 else 0.0

    @property
    def has_errors(self) -> bool:
        """Whether the job or one of its requests failed."""
        return bool(self.error) or self.failed_requests > 0


@dataclass(frozen=True, repr=False)
class BatchListResponse(ShortRepr):
    """One page of a list of batch jobs.

    Args:
        first_id: The first job of the page.
        last_id: What to pass as `after` to get the next page: the last job of the page, or the provider's cursor.
        has_more: Whether more jobs follow.
    """

    batches: list[BatchInfo]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class BatchFailure:
    """A conversation of a batch job without an answer: its place in the input, and the reason."""

    index: int
    error: str


@dataclass(frozen=True, repr=False)
class BatchResult(ShortRepr):
    """The results of a batch job.

    Args:
        successful: Pairs of the place of a conversation in the input, and the conversation with its answer, in input
            order.
        failed_indices: The places of the other conversations, sorted.
        error_messages: For each of these places, the reason.
    """

    successful: list[tuple[int, Conversation]]
    failed_indices: list[int]
    error_messages: dict[int, str]

    @property
    def conversations(self) -> list[Conversation]:
        """The conversations with their answers, in input order."""
        return [conversation for _, conversation in self.successful]

    @property
    def failures(self) -> list[BatchFailure]:
        """The other conversations, in input order."""
        return [BatchFailure(index, self.error_messages[index]) for index in self.failed_indices]

    @property
    def has_failures(self) -> bool:
        """Whether a conversation has no answer."""
        return bool(self.failed_indices)


@dataclass(frozen=True, repr=False)
class FileInfo(ShortRepr):
    """A file that the provider stores.

    Args:
        bytes: The size.
        created_at: Seconds since the epoch.
        purpose: What the file is for, such as `batch`.
    """

    id: str
    filename: str
    bytes: int
    created_at: int
    purpose: str


@dataclass(frozen=True, repr=False)
class FileListResponse(ShortRepr):
    """One page of a list of files. `has_more`: more files follow."""

    files: list[FileInfo]
    has_more: bool = False


def earliest(batches: Iterable[BatchInfo]) -> list[BatchInfo]:
    """Return jobs in the order of their creation. Jobs without that time come last."""
    return sorted(batches, key=lambda job: job.created_at.timestamp() if job.created_at is not None else inf)
