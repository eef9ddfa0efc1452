"""One route of the server: checks and handles a request, and sends errors in OpenAI's format."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import anyio

from asyncinfer.errors import AsyncInferError, error_str
from asyncinfer.serve.access_control import AccessControl
from asyncinfer.serve.api_errors import ApiError, api_error, is_for_operator
from asyncinfer.serve.asgi import (
    ClientDisconnected,
    Receive,
    Reply,
    Scope,
    Send,
    abort_connection,
    until_disconnect,
)
from asyncinfer.serve.backend import Backend, OpenBackend
from asyncinfer.serve.request_body import read_object
from asyncinfer.serve.write_timeout import write_timeout

log = logging.getLogger("asyncinfer.serve")

# The status of a request whose client disconnected before the response began, as nginx logs it.
CLIENT_CLOSED_REQUEST = 499
# How long the event of an error may wait for the client (seconds).
_LAST_EVENT = 1


@dataclass(slots=True)
class Exchange:
    """A request, and the reply to it.

    Attributes:
        began: When the request arrived, on the monotonic clock.
        error_events: Makes the last events of a stream that an error ends. None: the response is not a stream.
    """

    scope: Scope
    receive: Receive
    reply: Reply
    began: float
    error_events: Callable[[ApiError], bytes] | None = None

    def path_parameter(self, name: str) -> str:
        """Return a parameter in the path of the URL."""
        return self.scope["path_params"][name]


class Endpoint(ABC):
    """An ASGI application for one route.

    Attributes:
        metric_route: Its path, as the metrics and the log name it.
        starlette_path: Its path for Starlette, if a parameter in it may contain slashes.
        methods: The HTTP methods that it accepts.
        needs_key: Whether a server with keys accepts only requests with a key.
    """

    metric_route: str
    starlette_path: str | None = None
    methods: tuple[str, ...] = ("GET", "HEAD")
    needs_key = True

    def __init__(self, backend: Backend, access: AccessControl) -> None:
        self._backend, self._access = backend, access

    @abstractmethod
    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Answer a request.

        Raises:
            ApiError: The client receives it as the response.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, Reply(send), time.monotonic())
        try:
            await self._serve(exchange)
        except ClientDisconnected:
            pass
        except Exception as error:
            client_error = api_error(error)
            self._log(error, client_error)
            await self._send_error(exchange, error, client_error)
        finally:
            status = exchange.reply.status or CLIENT_CLOSED_REQUEST
            self._backend.metrics.finished(self.metric_route, status, time.monotonic() - exchange.began)

    async def _serve(self, exchange: Exchange) -> None:
        self._access.check_host(exchange.scope)
        if self.needs_key:
            self._access.check_key(exchange.scope)
        self.check_method(exchange.scope["method"])
        await self.handle(exchange, await self._backend.open())

    def _log(self, error: Exception, client_error: ApiError) -> None:
        """Log an error that the operator of the server should see. `client_error`: what the client receives."""
        match error:
            case ApiError():
                pass
            case AsyncInferError():
                if is_for_operator(error, client_error):
                    log.error("%s: %s", self.metric_route, error_str(error))
            case _:
                log.error("%s: a request failed", self.metric_route, exc_info=error)

    async def _send_error(self, exchange: Exchange, error: Exception, client_error: ApiError) -> None:
        """Send an error. In a stream that has begun, it is the last event. Otherwise a begun response is cut off."""
        reply = exchange.reply
        if reply.status is None:
            await reply.send_all(client_error.status, client_error.body(), client_error.headers())
        elif exchange.error_events is None or reply.is_complete:
            raise error
        else:
            with anyio.move_on_after(_LAST_EVENT) as scope:
                await reply.write(exchange.error_events(client_error), more=False)
            if scope.cancelled_caught:
                abort_connection(exchange.scope)

    def check_method(self, method: str) -> None:
        """Raise an ApiError if this route does not accept an HTTP method."""
        if method not in self.methods:
            allowed = ", ".join(self.methods)
            message = f"{self.metric_route} accepts only {allowed}."
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=[(b"allow", allowed.encode())])


class AnswerEndpoint(Endpoint):
    """A route on which the engine answers."""

    methods = ("POST",)

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Read the request, and answer it. A client that disconnects, or stops reading, frees its slot."""
        backend.admission.check()
        fields = await _read_fields(exchange, backend)
        seconds = backend.settings.write_timeout

        async def work() -> None:
            await self.answer(exchange, backend, fields)

        def give_up() -> None:
            log.warning("%s: a client has read nothing for %g s: its connection is closed", self.metric_route, seconds)
            abort_connection(exchange.scope)
            scope.cancel()

        with backend.admission.cancellable() as scope, write_timeout(exchange.reply, seconds, give_up):
            is_complete = await until_disconnect(exchange.receive, work, scope)
        if not is_complete:
            raise backend.admission.cut_off_error() or ClientDisconnected

    @abstractmethod
    async def answer(self, exchange: Exchange, backend: OpenBackend, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""


async def _read_fields(exchange: Exchange, backend: OpenBackend) -> dict[str, Any]:
    """Return the fields of the body.

    Raises:
        ApiError: The body is not valid, or the server is shut down before all of it has arrived.
    """
    with backend.admission.cancellable() as scope, scope:
        return await read_object(exchange.scope, exchange.receive, backend.settings.max_body_bytes)
    raise backend.admission.cut_off_error() or ClientDisconnected
