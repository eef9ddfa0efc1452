"""The routes that tell about the server: its models, its health and its metrics."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic_core import to_json

from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.asgi import Receive, Scope, Send
from asyncinfer.serve.endpoint import Endpoint, Exchange


class Models(Endpoint):
    """Lists the models."""

    route = "/v1/models"

    async def handle(self, exchange: Exchange) -> None:
        """Send the list."""
        listed = [self.entry(name) for name in await self._names()]
        await exchange.reply.whole(HTTPStatus.OK, to_json({"object": "list", "data": listed}))

    def entry(self, name: str) -> dict[str, Any]:
        """Return the description of a model."""
        return {"id": name, "object": "model", "created": self.backend.created, "owned_by": "asyncinfer"}

    async def _names(self) -> list[str]:
        """The names of the served models. If any name is accepted, those of the engine's provider too."""
        names = dict.fromkeys(self.backend.models.names)
        if self.backend.settings.any_model:
            names |= dict.fromkeys(await self.backend.engine.alist_models())
        return list(names)


class Model(Models):
    """Describes one model."""

    route = "/v1/models/{model}"
    path = "/v1/models/{model:path}"

    async def handle(self, exchange: Exchange) -> None:
        """Send the description."""
        name = exchange.path_parameter("model")
        self.backend.models.find(name)
        await exchange.reply.whole(HTTPStatus.OK, to_json(self.entry(name)))


class Health(Endpoint):
    """Tells whether the server accepts requests. Needs no key."""

    route = "/health"
    needs_key = False

    async def handle(self, exchange: Exchange) -> None:
        """Send status 200; 503 while the server is shutting down."""
        draining = self.backend.admission.is_draining
        status = HTTPStatus.SERVICE_UNAVAILABLE if draining else HTTPStatus.OK
        await exchange.reply.whole(status, to_json({"status": "shutting down" if draining else "ok"}))


class MetricsText(Endpoint):
    """Shows the metrics."""

    route = "/metrics"

    async def handle(self, exchange: Exchange) -> None:
        """Send the metrics as text."""
        metrics = self.backend.metrics
        content_type = (b"content-type", metrics.content_type.encode())
        await exchange.reply.whole(HTTPStatus.OK, metrics.text(), [content_type])


class NotFound(Endpoint):
    """Answers requests to all other paths."""

    route = "other"
    needs_key = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A WebSocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await super().__call__(scope, receive, send)

    def check_method(self, method: str) -> None:
        """Accept every method: the path is what is wrong."""

    async def handle(self, exchange: Exchange) -> None:
        """Send status 404."""
        method, path = exchange.scope["method"], exchange.scope["path"]
        raise ApiError(HTTPStatus.NOT_FOUND, f"There is nothing at {method} {path[:200]}.", code="unknown_url")
