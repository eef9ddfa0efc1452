"""Runs the operations of a batch API: sends the requests of their steps, and reads results as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import urljoin

from asyncinfer.aio.limiters import DISK
from asyncinfer.dialects.batch_steps import API, UNSIGNED, BatchContext, Exchange, Step, Steps, Upload
from asyncinfer.dialects.http import status_error
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.auth import Signer
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest, HttpResponse, ResponseLimits, is_success, malformed_response
from asyncinfer.types.upload import FileBody

T = TypeVar("T")

# The limits of a file of results. It is read as a stream, so that it may be larger than the memory.
_RESULT_LIMITS = ResponseLimits(max_bytes=2**50, max_ratio=2000)
# The longest line of a file of results (bytes).
_LONGEST_LINE = 2**28
_MOST_REDIRECTS = 5
_GROUP_LINES, _GROUP_BYTES = 256, 1 << 20


class BatchClient:
    """Sends the requests of a batch API.

    Args:
        transport: Sends the requests.
        context: What all operations of the engine share.
        signers: Return the signer for each service, by `Exchange.service`. A signer is made when it is first needed.
        clean_error: Removes secrets from an error.
        clean_response: Removes secrets from a response that is not a success.
    """

    def __init__(
        self,
        transport: Transport,
        context: BatchContext,
        signers: Mapping[str, Callable[[], Signer]],
        clean_error: Callable[[RequestError], RequestError],
        clean_response: Callable[[HttpResponse], HttpResponse],
    ) -> None:
        self._transport, self.context, self._make = transport, context, signers
        self._signers: dict[str, Signer] = {}
        self._clean_error, self._clean_response = clean_error, clean_response

    async def do(self, steps: Steps[T], on_stored: Callable[[str], Awaitable[None]] | None = None) -> T:
        """Run an operation, and return its result.

        Args:
            on_stored: Called with the id of each file that the provider has stored.

        Raises:
            RequestError: A request failed, or the API refused it.
            ConfigError: A setting is missing.
        """
        try:
            step = next(steps)
            while True:
                if on_stored is not None and step.stored is not None:
                    await on_stored(step.stored)
                step = steps.send(await self._response(step))
        except StopIteration as end:
            return end.value
        except RequestError as error:
            raise self._clean_error(error) from None
        finally:
            steps.close()

    async def lines(self, download: Exchange) -> AsyncGenerator[bytes]:
        """Yield the lines of a file, as it arrives. Empty lines are left out.

        Raises:
            RequestError: The file could not be read to its end, or a line is too long.
        """
        try:
            async with aclosing(self._chunks(download)) as chunks:
                rest = bytearray()
                async for chunk in chunks:
                    rest += chunk
                    if b"\n" in chunk:
                        *whole, last = bytes(rest).split(b"\n")
                        rest = bytearray(last)
                        for line in whole:
                            if stripped := line.strip():
                                yield stripped
                    if len(rest) > _LONGEST_LINE:
                        raise malformed_response(f"has a line of more than {_LONGEST_LINE >> 20} MiB")
                if stripped := bytes(rest).strip():
                    yield stripped
        except RequestError as error:
            raise self._clean_error(error) from None

    async def line_groups(self, download: Exchange) -> AsyncGenerator[list[bytes]]:
        """Yield the lines of a file in groups, each enough work for a thread. Raises as `lines` does."""
        group, size = list[bytes](), 0
        async with aclosing(self.lines(download)) as lines:
            async for line in lines:
                group.append(line)
                size += len(line)
                if len(group) >= _GROUP_LINES or size >= _GROUP_BYTES:
                    yield group
                    group, size = [], 0
        if group:
            yield group

    async def text(self, download: Exchange) -> str:
        """Return the content of a text file. Raises as `lines` does, and for text that is not UTF-8."""
        try:
            async with aclosing(self._chunks(download)) as chunks:
                content = b"".join([chunk async for chunk in chunks])
            return content.decode()
        except UnicodeDecodeError:
            raise malformed_response("is not text") from None
        except RequestError as error:
            raise self._clean_error(error) from None

    async def _chunks(self, download: Exchange) -> AsyncGenerator[bytes]:
        """Yield the body of a response. Redirects are followed without credentials: the new URL has its own."""
        request, service = download.request, download.service
        for _ in range(_MOST_REDIRECTS):
            signed = await self._signed(request._replace(limits=_RESULT_LIMITS), service)
            async with self._transport.stream(signed) as streamed:
                if is_success(streamed.status):
                    async for chunk in streamed.chunks():
                        streamed.progressed()
                        yield chunk
                    return
                location = streamed.headers.get("Location")
                if not 300 <= streamed.status < 400 or not location:
                    raise status_error(self._clean_response(await streamed.response()))
            headers = {name: value for name, value in request.headers.items() if name == "User-Agent"}
            request, service = request._replace(url=urljoin(request.url, location), headers=headers), UNSIGNED
        raise malformed_response("is a redirect to a redirect, and so on")

    async def _response(self, step: Step) -> HttpResponse:
        if isinstance(step, Exchange):
            response = await self._transport.send(await self._signed(step.request, step.service))
        else:
            response = await self._upload(step)
        return response if response.is_success else self._clean_response(response)

    async def _upload(self, step: Upload) -> HttpResponse:
        found = await DISK.run(step.path.stat)
        size = len(step.before) + found.st_size + len(step.after)
        signed = await self._signed(step.request, step.service)
        return await self._transport.upload(signed, FileBody(step.path, size, step.before, step.after))

    async def _signed(self, request: HttpRequest, service: str) -> HttpRequest:
        if service == UNSIGNED:
            return request
        if service not in self._signers:
            make = self._make.get(service)
            if make is None:
                raise ConfigError(f"the batch API needs credentials for {service or API!r}, which this provider lacks")
            self._signers[service] = make()
        signed = await self._signers[service](request)
        # Signers leave the limits as they are, or drop them.
        return signed._replace(limits=request.limits)
