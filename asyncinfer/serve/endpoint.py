"""One route of the server: checks a request, has it handled, and sends errors in OpenAI's format."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from asyncinfer.errors import EngineDeadError, error_str
from asyncinfer.serve.access_control import AccessControl
from asyncinfer.serve.api_errors import ApiError, api_error
from asyncinfer.serve.asgi import Receive, Reply, Scope, Send, until_disconnect
from asyncinfer.serve.backend import Backend
from asyncinfer.serve.request_body import ClientDisconnected, read_object

log = logging.getLogger("asyncinfer.serve")

# The status of a request whose client left before the response began, as nginx logs it.
CLIENT_CLOSED_REQUEST = 499


@dataclass(slots=True)
class Exchange:
    """A request, and the reply to it.

    Attributes:
        began: When the request arrived, on the monotonic clock.
    """

    scope: Scope
    receive: Receive
    reply: Reply
    began: float

    def path_parameter(self, name: str) -> str:
        """Return a parameter in the path of the URL."""
        return self.scope["path_params"][name]


class Endpoint(ABC):
    """An ASGI application for one route.

    Attributes:
        route: Its path.
        path: Its path for Starlette, if a parameter in it may contain slashes.
        methods: The HTTP methods that it accepts.
        needs_key: Whether a server with keys accepts only requests with a key.
    """

    route: str
    path: str | None = None
    methods: tuple[str, ...] = ("GET", "HEAD")
    needs_key = True

    def __init__(self, backend: Backend, access: AccessControl) -> None:
        self.backend, self._access = backend, access

    @abstractmethod
    async def handle(self, exchange: Exchange) -> None:
        """Answer a request.

        Raises:
            ApiError: The client receives it as the response.
        """

    async def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Send an error. A response that has begun cannot become an error: its connection is closed."""
        if exchange.reply.status is not None:
            raise error
        shown = api_error(error)
        await exchange.reply.whole(shown.status, shown.body(), shown.headers())

    def log(self, error: Exception) -> None:
        """Log an error that the operator of the server should see."""
        if isinstance(error, EngineDeadError):
            log.error("%s: %s", self.route, error_str(error))
        elif api_error(error).status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("%s: a request failed", self.route, exc_info=error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, Reply(send), time.monotonic())
        try:
            await self._serve(exchange)
        except ClientDisconnected:
            pass
        except Exception as error:
            self.log(error)
            await self.on_error(exchange, error)
        finally:
            status = exchange.reply.status or CLIENT_CLOSED_REQUEST
            self.backend.metrics.finished(self.route, status, time.monotonic() - exchange.began)

    async def _serve(self, exchange: Exchange) -> None:
        self._access.check_host(exchange.scope)
        if self.needs_key:
            self._access.check_key(exchange.scope)
        self.check_method(exchange.scope["method"])
        await self.backend.open()
        await self.handle(exchange)

    def check_method(self, method: str) -> None:
        """Raise an ApiError if this route does not accept an HTTP method."""
        if method not in self.methods:
            allowed = ", ".join(self.methods)
            message = f"{self.route} accepts only {allowed}."
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=[(b"allow", allowed.encode())])


class AnswerEndpoint(Endpoint):
    """A route on which the engine answers."""

    methods = ("POST",)

    async def handle(self, exchange: Exchange) -> None:
        """Read the request, and answer it. A client that leaves frees its place."""
        backend = self.backend
        backend.admission.check()
        fields = await read_object(exchange.scope, exchange.receive, backend.settings.max_body_bytes)

        async def work() -> None:
            await self.answer(exchange, fields)

        with backend.admission.cancellable() as scope:
            is_complete = await until_disconnect(exchange.receive, work, scope)
        if not is_complete:
            raise backend.admission.cut_off_error() or ClientDisconnected

    @abstractmethod
    async def answer(self, exchange: Exchange, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""
