"""The differences between batch APIs in OpenAI's format, as data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

from asyncinfer.dialects.batch import BatchLimits, JobFile
from asyncinfer.dialects.batch_steps import BatchContext, Steps
from asyncinfer.errors import ConfigError
from asyncinfer.types.http import HttpRequest

P = ParamSpec("P")
T = TypeVar("T")

CHAT, RESPONSES = "/chat/completions", "/responses"
_WINDOW = re.compile(r"([0-9]{1,4})([hd])")


class Paging(Enum):
    """How a list is split into pages.

    AFTER: The query `after` is the id of the last entry of the page before. CURSOR: The query `cursor` has the value
    that the page before names. NUMBER: The query `page` counts from 0. NONE: The list has one page.
    """

    AFTER = "after"
    CURSOR = "cursor"
    NUMBER = "page"
    NONE = "none"


class Windows(NamedTuple):
    """The completion windows that an API accepts, in hours."""

    least: int = 24
    most: int = 24

    def hours(self, window: str, name: str) -> int:
        """Return the hours of a completion window, such as 24 for `24h` and 168 for `7d`.

        Args:
            name: The name of the provider, for the message.

        Raises:
            ConfigError: The API does not accept this window.
        """
        match = _WINDOW.fullmatch(window.strip())
        hours = int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
        if self.least <= hours <= self.most:
            return hours
        accepted = f"{self.least}h" if self.least == self.most else f"{self.least}h to {self.most}h"
        raise ConfigError(f"remote_params.batch_completion_window: {name} accepts {accepted} (found {window!r})")


ONE_DAY = Windows()
_LIMITS = BatchLimits()


class NewJob(NamedTuple):
    """A job that is about to be created.

    Args:
        file_id: The uploaded file of requests.
        endpoint: The endpoint that answers the requests.
        window: The completion window, such as `24h`.
        hours: The same in hours.
    """

    file_id: str
    tag: str
    endpoint: str
    window: str
    hours: int


@dataclass(frozen=True, slots=True)
class BatchQuirks:
    """How a batch API differs from OpenAI's.

    Args:
        name: The name of the provider, for messages.
        upload: Uploads the file of a job under the name `{tag}.jsonl`, and returns its id. None: as OpenAI does.
        body: Makes the body of the request that creates a job. None: as OpenAI does.
        limits: The limits of one job.
        windows: The completion windows that the API accepts.
        paths: The paths for chats whose requests a job may have.
        jobs: The path of jobs.
        job_pages: How the list of jobs is split into pages.
        file_pages: How the list of files is split into pages.
        names_endpoint: Each line names the method and the endpoint of its request.
        versioned: Endpoints begin with `/v1`, whatever the URL for chats is. Otherwise they begin with it if that URL
            has it.
        root: Returns the URL that the paths of jobs and files are below.
        request: Changes a request before it becomes a line.
        docs: Where the API is described.
    """

    name: str
    upload: Callable[[BatchContext, JobFile, str], Steps[str]] | None = None
    body: Callable[[BatchContext, NewJob], dict[str, Any]] | None = None
    limits: BatchLimits = _LIMITS
    windows: Windows = ONE_DAY
    paths: frozenset[str] = frozenset({CHAT})
    jobs: str = "/batches"
    job_pages: Paging = Paging.AFTER
    file_pages: Paging = Paging.AFTER
    names_endpoint: bool = True
    versioned: bool = True
    root: Callable[[BatchContext], str] | None = None
    request: Callable[[BatchContext, HttpRequest], HttpRequest] | None = None
    docs: str = ""

    def endpoint(self, context: BatchContext) -> str:
        """Return the endpoint that answers the requests of a job.

        Raises:
            ConfigError: Jobs cannot use the API that the engine uses.
        """
        path = urlsplit(context.chat_url).path.rstrip("/")
        found = next((end for end in (CHAT, RESPONSES) if path.endswith(end)), CHAT)
        if found not in self.paths:
            raise ConfigError(f"remote_params.api: batch jobs of {self.name} need chat completions; set it to chat")
        return f"/v1{found}" if self.versioned or path.endswith(f"/v1{found}") else found

    def send(self, context: BatchContext, method: str, path: str, body: bytes = b"", *, query: str = "") -> HttpRequest:
        """Return a request for a path of jobs or files."""
        if self.root is None:
            return context.request(method, path, body, query=query)
        both = "&".join(part for part in (query, context.query) if part)
        return context.request(method, self.root(context) + path, body, query=both)


@dataclass(frozen=True, slots=True)
class WithQuirks(Generic[P, T]):
    """A function whose first argument is bound to these differences. It can be pickled and compared."""

    function: Callable[Concatenate[BatchQuirks, P], T]
    quirks: BatchQuirks

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.function(self.quirks, *args, **kwargs)
