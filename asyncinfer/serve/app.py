"""Makes the ASGI application of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import MissingDependencyError
from asyncinfer.serve.access_control import AccessControl
from asyncinfer.serve.backend import Backend
from asyncinfer.serve.chat import ChatCompletionsEndpoint
from asyncinfer.serve.endpoint import Endpoint
from asyncinfer.serve.metrics import Metrics
from asyncinfer.serve.responses import ResponsesEndpoint
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.serve.status_routes import (
    HealthEndpoint,
    MetricsEndpoint,
    ModelEndpoint,
    ModelsEndpoint,
    NotFoundEndpoint,
)

try:
    from starlette.applications import Starlette
    from starlette.routing import Route, Router
except ImportError as error:
    raise MissingDependencyError("starlette", "serve") from error

_ENDPOINTS: tuple[type[Endpoint], ...] = (
    ChatCompletionsEndpoint,
    ResponsesEndpoint,
    ModelsEndpoint,
    ModelEndpoint,
    HealthEndpoint,
    MetricsEndpoint,
)


def create_app(
    engine: BaseInferenceEngine, settings: ServerSettings | None = None, *, owns_engine: bool = False
) -> Starlette:
    """Make an application that serves an engine with OpenAI's API.

    It can be mounted in another application. `await app.state.backend.drain()` makes it refuse new requests, and waits
    for the running ones.

    Args:
        engine: What answers the requests.
        settings: The settings of the server; by default, `ServerSettings()`.
        owns_engine: Close the engine when the application ends. An application that mounts this one must close the
            engine itself, because Starlette and FastAPI do not tell mounted applications about their end.

    Returns:
        The application. `app.state.backend` is the engine as the server uses it.

    Raises:
        ConfigError: A setting does not fit the engine.
    """
    backend = Backend(engine, settings or ServerSettings(), Metrics())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        try:
            await backend.open()
            yield
        finally:
            if owns_engine:
                await engine.aclose()

    access = AccessControl(backend.settings)
    app = Starlette()
    app.state.backend = backend
    # Starlette takes no router: its own answers unknown paths in another format, and redirects paths with a slash.
    app.router = Router(
        [Route(endpoint.starlette_path or endpoint.metric_route, endpoint(backend, access)) for endpoint in _ENDPOINTS],
        redirect_slashes=False,
        default=NotFoundEndpoint(backend, access),
        lifespan=lifespan,
    )
    return app
