"""Makes the ASGI application of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import MissingDependencyError
from asyncinfer.serve.access_control import AccessControl
from asyncinfer.serve.backend import Backend
from asyncinfer.serve.chat import ChatCompletions
from asyncinfer.serve.endpoint import Endpoint
from asyncinfer.serve.information import Health, MetricsText, Model, Models, NotFound
from asyncinfer.serve.metrics import Metrics
from asyncinfer.serve.responses import Responses
from asyncinfer.serve.settings import ServerSettings

try:
    from starlette.applications import Starlette
    from starlette.routing import Route, Router
except ImportError as error:
    raise MissingDependencyError("starlette", "serve") from error

_ENDPOINTS: tuple[type[Endpoint], ...] = (ChatCompletions, Responses, Models, Model, Health, MetricsText)


def create_app(
    engine: BaseInferenceEngine, settings: ServerSettings | None = None, *, owns_engine: bool = False
) -> Starlette:
    """Make an application that serves an engine with OpenAI's API.

    It can be mounted in another application. `app.state.backend.admission.drain()` makes it refuse new requests, and
    waits for the running ones.

    Args:
        owns_engine: Close the engine when the application ends. An application that mounts this one must close the
            engine itself, because Starlette and FastAPI do not tell mounted applications about their end.

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
    app = Starlette(lifespan=lifespan)
    app.state.backend = backend
    app.router = Router(
        [Route(endpoint.path or endpoint.route, endpoint(backend, access)) for endpoint in _ENDPOINTS],
        redirect_slashes=False,
        default=NotFound(backend, access),
        lifespan=lifespan,
    )
    return app
