"""Runs a server: where it listens, who may reach it, and how it stops."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import anyio

from asyncinfer.aio.limiters import NAMES
from asyncinfer.aio.tasks import done_before, task_group
from asyncinfer.config import GenerationParams, InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.run.stop import Stop
from asyncinfer.serve.access_control import is_loopback
from asyncinfer.serve.addresses import bound_sockets, listening_errors, url_of
from asyncinfer.serve.admission import Admission
from asyncinfer.serve.app import create_app
from asyncinfer.serve.asgi import ABORT, Receive, Scope, Send
from asyncinfer.serve.settings import ServerSettings

try:
    import uvicorn
    from starlette.applications import Starlette
except ImportError as error:
    raise MissingDependencyError("uvicorn", "serve") from error

log = logging.getLogger("asyncinfer.serve")

_BACKLOG = 2048
# How long connections may take to close after the last answer (seconds).
_CLOSING = 5


def checked_settings(settings: ServerSettings, host: str, *, insecure: bool = False) -> ServerSettings:
    """Return the settings of a server that listens on `host`.

    A server without keys on a local address accepts only requests to localhost, to IP addresses and to
    `settings.allowed_hosts`. So a web page cannot reach it through a host name of the page that leads to this machine.

    Raises:
        ConfigError: Other machines could reach the server, it has no key, and `insecure` is not set.
    """
    if settings.api_keys:
        return settings
    if is_loopback(host):
        return replace(settings, allowed_hosts=(settings.allowed_hosts or frozenset()) | {"localhost"})
    if not insecure:
        raise ConfigError(
            f"host: other machines may reach a server on {host!r}, so it needs an API key. Give the environment "
            "variable that holds it with --api-key-env, or give --insecure to let everybody use the server"
        )
    log.warning("The server on %s has no API key: everybody who can reach it may use it", host)
    return settings


async def serve(
    engine: BaseInferenceEngine,
    settings: ServerSettings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    insecure: bool = False,
    stop: Stop | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve an engine with OpenAI's API until `stop` is requested. The engine stays open.

    A model in this process is loaded before the server listens. After `stop` was requested, running answers get
    `settings.shutdown_grace` seconds to finish, and new requests are refused with status 503.

    Args:
        engine: What answers the requests.
        settings: The settings of the server; by default, `ServerSettings()`.
        host: The host name or address to listen on. A name with several addresses means all of them.
        port: 0: any free port.
        insecure: Allow a server without keys that other machines can reach.
        stop: Ends the server, also while the model is loaded.
        on_listening: Called with the URL of the server as soon as it listens.

    Raises:
        ConfigError: A setting is wrong, or the server cannot listen on this address.
    """
    settings = checked_settings(settings or ServerSettings(), host, insecure=insecure)
    app, stop = create_app(engine, settings), stop or Stop()
    admission = (await app.state.backend.open()).admission
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(bound)) for bound in await NAMES.run(bound_sockets, host, port)]
        if not await _load(engine, stop):
            return
        server = _Server(_config(app), lambda: on_listening and on_listening(url_of(sockets[0])))
        async with task_group() as tasks:
            tasks.start_soon(_end_later, server, admission, stop, settings.shutdown_grace)
            # uvicorn leaves its requests behind if it is cancelled.
            with listening_errors(host, port), anyio.CancelScope(shield=True):
                await server.serve(sockets=sockets)
            tasks.cancel_scope.cancel()


async def _load(engine: BaseInferenceEngine, stop: Stop) -> bool:
    """Load a model in this process, by answering one token. Returns False if `stop` was requested before the end."""
    if not isinstance(engine, LocalInferenceEngine):
        return True

    async def load() -> None:
        await engine.agenerate("Hi", InferenceConfig(generation=GenerationParams(max_new_tokens=1)))

    return await done_before(stop.wait, load)


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        _with_abort(app),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_CLOSING,
    )


def _with_abort(app: Starlette) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return an application that can close the connection of a request. uvicorn's `send` is a method of the request."""

    async def serve_request(scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if abort := getattr(transport, "abort", None):
            scope["extensions"] = {**(scope.get("extensions") or {}), ABORT: abort}
        await app(scope, receive, send)

    return serve_request


class _Server(uvicorn.Server):
    """A server that leaves the signals of the process to the program, and calls `on_listening` once it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


async def _end_later(server: uvicorn.Server, admission: Admission, stop: Stop, grace: float) -> None:
    """End the server: after the running answers once `stop` is requested, and at once when this task is cancelled."""
    try:
        await stop.wait()
        with anyio.move_on_after(grace) as scope:
            await admission.drain()
        if scope.cancelled_caught:
            log.warning("%d answers were not finished after %g s: they are cut off", admission.cut_off(), grace)
    finally:
        admission.cut_off()  # After a drain, only requests whose bodies have not arrived are left.
        server.should_exit = True
