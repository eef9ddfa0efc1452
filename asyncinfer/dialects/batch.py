"""The interface of a provider's batch API.

Each operation is a generator that yields steps, and is sent the response of each step. It does no I/O: the caller sends
the requests. So an operation may take one request or several, and a test needs no server:

    def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
        response = yield Exchange(context.get(f"/batches/{batch_id}"))
        return info_of(json_object(response))

A response that is not a success is sent to the operation like any other. `json_object` raises its error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar, NamedTuple

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps
from asyncinfer.errors import RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, FileInfo, FileListResponse, earliest
from asyncinfer.types.http import HttpRequest, HttpResponse

# The key in `BatchInfo.metadata` of the tag that the client gave the job, by which it can be found again. Providers
# without metadata store the tag elsewhere, for instance in the display name; their dialect reports it under this key.
TAG = "asyncinfer_job"


def has_tag(info: BatchInfo, tag: str) -> bool:
    """Whether a job has this tag in its metadata."""
    return (info.metadata or {}).get(TAG) == tag


Listing = Callable[[BatchContext, str | None, int | None], Steps[BatchListResponse]]


class JobFile(NamedTuple):
    """The file of a job's requests: the lines that `BatchDialect.line` made, joined by `BatchDialect.separator`."""

    path: Path
    size: int
    rows: int


class BatchLimits(NamedTuple):
    """The limits of one job.

    Args:
        rows: The most requests.
        bytes: The largest file of requests.
        line_bytes: The longest line; None if there is no limit besides `bytes`.
        least_rows: The fewest requests. Fewer rows are sent one by one.
    """

    rows: int = 50_000
    bytes: int = 200 * 10**6
    line_bytes: int | None = None
    least_rows: int = 1


class BatchAnswer(NamedTuple):
    """One line of a job's results. It has a response or an error.

    Args:
        custom_id: The id that the request was given.
        response: What the chat dialect decodes. It may be an error response.
        error: Why there is no response.
    """

    custom_id: str
    response: HttpResponse | None = None
    error: RequestError | None = None


class SentJob(NamedTuple):
    """A job that may have been submitted.

    Args:
        file: Its file of requests.
        window: Its completion window.
        since: It was not submitted before this time (UTC).
    """

    tag: str
    file: JobFile
    window: str
    since: datetime


class FileQuery(NamedTuple):
    """Which files to list. The values are those of the caller; None: the provider's default."""

    purpose: str | None = None
    limit: int | None = None
    order: str = "desc"
    after: str | None = None


class _ByValue:
    """A base class of dataclasses with functions, which must have `eq=False`. Methods of equal objects are equal."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, _ByValue) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return tuple((v.__func__, v.__self__) if isinstance(v, MethodType) else v for v in values)


@dataclass(frozen=True, slots=True, eq=False)
class FilesApi(_ByValue):
    """The files that a provider stores.

    Args:
        listing: One page of the list.
        get: The data of one file, by its id.
        delete: Deletes a file. Returns whether it was deleted.
        content: The request whose response is the content of a file.
    """

    listing: Callable[[BatchContext, FileQuery], Steps[FileListResponse]]
    get: Callable[[BatchContext, str], Steps[FileInfo]]
    delete: Callable[[BatchContext, str], Steps[bool]]
    content: Callable[[BatchContext, str], Steps[Exchange]]


@dataclass(frozen=True, slots=True, eq=False)
class BatchDialect(_ByValue):
    """A provider's batch API. It can be pickled and compared: its functions are defined at the top level of a module,
    or are methods of a frozen dataclass.

    An operation raises RequestError for a response that is not a success, and ConfigError if a setting is missing.

    Args:
        line: Makes one line of a job's file, without a line break, from the id of the row (letters, digits and `-`, at
            most 64) and the request of the chat dialect.
        submit: Uploads the file and starts the job, with the tag. Returns the id of the job. The arguments are
            the file, the tag and the completion window, such as `24h`.
        status: A job, by its id.
        cancel: Cancels a job. Returns it as it is then.
        listing: One page of the jobs, newest first where the provider sorts them. The arguments are the cursor
            (`BatchListResponse.last_id` of the page before, or None) and the most jobs of the page (or None).
        results: The requests whose responses are JSON lines: all results that a job has, complete or not. Called for
            jobs that have ended. Redirects are followed without credentials.
        answer: Reads one line of the results. Raises RequestError if that is not possible.
        limits: The limits of one job.
        separator: What is between two lines of the file. Nothing follows the last line.
        find: Finds the jobs with a tag, earliest first. None: those in `listing` that have it in their metadata. If the
            API cannot tag jobs, it returns those that may be the one. They do not have `TAG` in their metadata. The
            caller compares the ids in their results with those of the job before it uses or cancels one.
        chat: The wire format of the requests and answers in a job, by the name of the model. None: that of chats.
        files: The files that the provider stores; None if it has no such API.
        variables: The environment variables that operations read from `BatchContext.variables`.
        docs: Where the API is described.
    """

    line: Callable[[BatchContext, str, HttpRequest], bytes]
    submit: Callable[[BatchContext, JobFile, str, str], Steps[str]]
    status: Callable[[BatchContext, str], Steps[BatchInfo]]
    cancel: Callable[[BatchContext, str], Steps[BatchInfo]]
    listing: Listing
    results: Callable[[BatchContext, BatchInfo], Steps[list[Exchange]]]
    answer: Callable[[bytes], BatchAnswer]
    limits: BatchLimits = field(default_factory=BatchLimits)
    separator: bytes = b"\n"
    find: Callable[[BatchContext, SentJob], Steps[list[BatchInfo]]] | None = None
    chat: Callable[[str], Dialect] | None = None
    files: FilesApi | None = None
    variables: tuple[str, ...] = ()
    docs: str = ""

    def dialect_for(self, model: str, chat: Dialect) -> Dialect:
        """Return the wire format of the requests in a job.

        Args:
            chat: The wire format of chats.
        """
        return self.chat(model) if self.chat is not None else chat

    def find_jobs(self, context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
        """Find the jobs with the tag of `job`, earliest first. There may be several after an unclear error."""
        if self.find is not None:
            return (yield from self.find(context, job))
        return (yield from _tagged(self, context, job))


# How many pages of a list of jobs are searched. They are sorted by time, or short.
_PAGES = 1000
# Clocks of different machines differ by less (seconds).
_CLOCK_DIFFERENCE = 3600.0


def _tagged(dialect: BatchDialect, context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    batches = yield from jobs_since(dialect.listing, context, job.since)
    return earliest(batch for batch in batches if has_tag(batch, job.tag))


def jobs_since(
    listing: Listing, context: BatchContext, since: datetime, limit: int | None = 100
) -> Steps[list[BatchInfo]]:
    """Return the jobs created since a time, and perhaps older ones.

    Newer ones come first in most lists, so a page of much older jobs ends the search.

    Args:
        limit: The most jobs of a page; None: as many as the provider returns.
    """
    found: list[BatchInfo] = []
    after: str | None = None
    for _ in range(_PAGES):
        page = yield from listing(context, after, limit)
        found += page.batches
        if not page.has_more or page.last_id in (None, after) or _is_older(page.batches, since):
            break
        after = page.last_id
    return found


def _is_older(batches: list[BatchInfo], since: datetime) -> bool:
    """Whether all jobs of a page were created long before `since`, and are sorted by time, newest first."""
    times = [batch.created_at.timestamp() for batch in batches if batch.created_at is not None]
    is_sorted = len(times) == len(batches) and times == sorted(times, reverse=True)
    return bool(times) and is_sorted and times[0] < since.timestamp() - _CLOCK_DIFFERENCE
