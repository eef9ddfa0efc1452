"""Runs a server: where it listens, who may reach it, and how it stops."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import anyio

from asyncinfer.aio.limiters import NAMES
from asyncinfer.aio.tasks import task_group
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.run.stop import Stop
from asyncinfer.serve.access_control import is_loopback
from asyncinfer.serve.admission import Admission
from asyncinfer.serve.app import create_app
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.paths import os_error_text

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

    A server without keys on a local address accepts only requests to local names and addresses. So a web page cannot
    reach it by a host name of its own that leads to this machine.

    Raises:
        ConfigError: Other machines could reach the server, it has no key, and `insecure` is not set.
    """
    if settings.api_keys:
        return settings
    if is_loopback(host):
        return replace(settings, allowed_hosts=settings.allowed_hosts or frozenset({"localhost"}))
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
        port: 0: any free port.
        insecure: Allow a server without keys that other machines can reach.
        on_listening: Called with the URL of the server as soon as it listens.

    Raises:
        ConfigError: A setting is wrong, or the server cannot listen on this address.
    """
    settings = checked_settings(settings or ServerSettings(), host, insecure=insecure)
    app, stop = create_app(engine, settings), stop or Stop()
    await app.state.backend.open()
    listening = await NAMES.run(_listen, host, port)
    with listening:
        await app.state.backend.warm_up()
        server = _Server(_config(app))
        async with task_group() as tasks:
            tasks.start_soon(_stop_later, server, app.state.backend.admission, stop, settings.shutdown_grace)
            if on_listening is not None:
                on_listening(_url(listening))
            await server.serve(sockets=[listening])
            tasks.cancel_scope.cancel()


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=_CLOSING
    )


class _Server(uvicorn.Server):
    """A server that leaves the signals of the process to the program."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _stop_later(server: uvicorn.Server, admission: Admission, stop: Stop, grace: float) -> None:
    """Once `stop` is requested, wait until the running answers are finished, and end the server."""
    await stop.wait()
    with anyio.move_on_after(grace) as scope:
        await admission.drain()
    if scope.cancelled_caught:
        log.warning("%d answers were not finished after %g s: they are cut off", admission.cut_off(), grace)
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Blocks, because the host name is looked up.

    Raises:
        ConfigError: The address is wrong or in use.
    """
    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as problem:
        why = os_error_text(problem) if isinstance(problem, OSError) else str(problem)
        raise ConfigError(f"the server cannot listen on {host}:{port}: {why}") from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
