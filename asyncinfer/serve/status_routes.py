"""The routes that tell about the server: its models, its health and its metrics.

Source of the list of models: OpenAI's API reference ("List models") and `Model` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic_core import to_json

from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.asgi import Receive, Scope, Send
from asyncinfer.serve.backend import OpenBackend
from asyncinfer.serve.endpoint import Endpoint, Exchange


class ModelsEndpoint(Endpoint):
    """Lists the models."""

    metric_route = "/v1/models"

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Send the list."""
        listed = [_described(name, backend) for name in await _names(backend)]
        await exchange.reply.send_all(HTTPStatus.OK, to_json({"object": "list", "data": listed}))


class ModelEndpoint(Endpoint):
    """Describes one model."""

    metric_route = "/v1/models/{model}"
    starlette_path = "/v1/models/{model:path}"

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Send the description."""
        name = exchange.path_parameter("model")
        backend.models.find(name)
        await exchange.reply.send_all(HTTPStatus.OK, to_json(_described(name, backend)))


def _described(name: str, backend: OpenBackend) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": backend.created, "owned_by": "asyncinfer"}


async def _names(backend: OpenBackend) -> list[str]:
    """Return the names of the served models. If any name is accepted, also the names of the provider's models."""
    names = dict.fromkeys(backend.models.names)
    if backend.settings.any_model:
        names |= dict.fromkeys(await backend.engine.alist_models())
    return list(names)


class HealthEndpoint(Endpoint):
    """Tells whether the server accepts requests. Needs no key."""

    metric_route = "/health"
    needs_key = False

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Send status 200; 503 while the server is shutting down."""
        draining = backend.admission.is_draining
        status = HTTPStatus.SERVICE_UNAVAILABLE if draining else HTTPStatus.OK
        await exchange.reply.send_all(status, to_json({"status": "shutting down" if draining else "ok"}))


class MetricsEndpoint(Endpoint):
    """Shows the metrics."""

    metric_route = "/metrics"

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Send the metrics as text."""
        metrics = backend.metrics
        content_type = (b"content-type", metrics.content_type.encode())
        await exchange.reply.send_all(HTTPStatus.OK, metrics.text(), [content_type])


class NotFoundEndpoint(Endpoint):
    """Answers requests to all other paths."""

    metric_route = "other"
    needs_key = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A WebSocket is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await super().__call__(scope, receive, send)

    def check_method(self, method: str) -> None:
        """Accept every method: the error is about the path."""

    async def handle(self, exchange: Exchange, backend: OpenBackend) -> None:
        """Send status 404."""
        method, path = exchange.scope["method"], exchange.scope["path"]
        raise ApiError(HTTPStatus.NOT_FOUND, f"There is nothing at {method} {path[:200]}.", code="unknown_url")
