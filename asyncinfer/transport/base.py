"""The interface of a transport: it sends requests and reads responses, within limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from asyncinfer.errors import EngineConfigError, InferenceErrorType, RequestError
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.upload import FileBody


class UnreachableError(RequestError):
    """No connection to the server could be opened, so the request was not sent."""


class Transport(ABC):
    """Sends requests.

    Every transport keeps these promises:

    - Redirects are not followed, so that a key reaches only the server for which it is meant.
    - `HttpRequest.timeout` and `HttpRequest.limits` apply.
    - Errors of the HTTP library become `RequestError`. Their messages show no key and no password of a proxy.
    """

    @abstractmethod
    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request, and read the whole response, whatever its status.

        Only the beginning of the body of an error is read (1 MiB).

        Raises:
            RequestError: The connection failed, the request timed out, or the body exceeds the limits.
            EngineConfigError: This transport cannot send any request here.
        """

    @abstractmethod
    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[StreamedResponse]:
        """Send a request whose response is read as it arrives.

        Leaving the context before the end of the body closes the connection. Raises as `send` does.
        """

    async def upload(self, request: HttpRequest, body: FileBody) -> HttpResponse:
        """Send a request whose body is streamed from a file, and read the whole response. Raises as `send` does.

        An upload may take any time. It fails if nothing is sent for `request.timeout` seconds.
        """
        raise EngineConfigError("this transport cannot upload files", error_type=InferenceErrorType.CONFIG)

    def release_idle(self) -> None:
        """Close the connections of the running event loop that no request uses, to free their file descriptors."""
        return

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections that this transport opened, and end the responses that are being read.

        The transport opens new connections when it is used again.
        """


class StreamedResponse(ABC):
    """A response whose body has not been read yet. Read it with `chunks` or with `response`, or the beginning with
    `chunks` and the rest with `response(beginning)`.

    Attributes:
        status: The HTTP status.
        headers: The headers; their names ignore case.
        media_type: The media type in lower case, without parameters; empty if the response names none.
    """

    status: int
    headers: Mapping[str, str]
    media_type: str

    @abstractmethod
    async def response(self, beginning: bytes = b"") -> HttpResponse:
        """The whole response, within the timeout of a request. Raises as `Transport.send` does.

        Args:
            beginning: All that `chunks` has yielded so far.
        """

    @abstractmethod
    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the decompressed body as it arrives. The caller must call `progressed` for each part of an answer.

        Raises:
            RequestError: As in `Transport.send`, and if the stream sends no part of an answer for too long.
        """

    @abstractmethod
    def progressed(self) -> None:
        """A part of the answer has arrived: restart the idle timer."""
