"""The steps of an operation of a batch API: requests and uploads, made from the context of the engine."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from asyncinfer.dialects.http import HEADERS
from asyncinfer.types.http import HttpRequest, HttpResponse, ResponseLimits

T = TypeVar("T")

# The signer of a request (`Exchange.service`): the one of the API, none because the URL itself has a signature
# (`UNSIGNED`), or the one that the provider's row has for another service.
API, UNSIGNED, S3, GCS = "", "unsigned", "s3", "gcs"


class Exchange(NamedTuple):
    """A request whose whole response the operation needs.

    Args:
        service: The signer of the request: `API`, `UNSIGNED`, or the name of another service.
        stored: The id of a file that the provider has stored for the job before this request; None if there is none.
    """

    request: HttpRequest
    service: str = API
    stored: str | None = None


class Upload(NamedTuple):
    """A request with a body that is streamed from a file. Its length is known, and sent as `Content-Length`.

    Args:
        request: The request without its body.
        path: The file.
        before: What the body has before the content of the file.
        after: What the body has after it.
        service: As in `Exchange`.
        stored: As in `Exchange`.
    """

    request: HttpRequest
    path: Path
    before: bytes = b""
    after: bytes = b""
    service: str = API
    stored: str | None = None


Step = Exchange | Upload
Steps = Generator[Step, HttpResponse, T]


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What all operations of one engine share.

    Args:
        chat_url: The URL for chats, with the model in it if the API has it there.
        base_url: `chat_url` without the path of the chat dialect and without a query, such as
            `https://api.openai.com/v1`.
        query: The query of `chat_url`, such as `api-version=2025-04-01`.
        model: The name of the model; empty if the operation is not about a model.
        headers: The headers of every request, without credentials.
        timeout: Seconds for one request. Uploads and downloads take as long as they need.
        limits: The limits of each response that is read as a whole.
        storage: The bucket and prefix for the files of jobs, such as `s3://bucket/prefix` or `gs://bucket/prefix`.
        role: The role that the provider assumes to read and write these files (Bedrock).
        variables: The environment variables in `BatchDialect.variables` that are set.
    """

    chat_url: str
    base_url: str
    query: str = ""
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)
    timeout: float = 300.0
    limits: ResponseLimits = field(default_factory=ResponseLimits)
    storage: str | None = None
    role: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict[str, str])

    def request(self, method: str, path: str, body: bytes = b"", *, query: str = "") -> HttpRequest:
        """Return a request for a path below `base_url`, or for a whole URL.

        Args:
            query: The query, already encoded. The query of `chat_url` is added.
        """
        url = path if "://" in path else self.base_url + path
        both = "&".join(part for part in (query, self.query if "://" not in path else "") if part)
        if both:
            url = f"{url}{'&' if '?' in url else '?'}{both}"
        return HttpRequest(url, self.headers, body, method, self.timeout, self.limits)
