"""The pooled transport waits when no file descriptor or port is free."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import InferenceErrorType, ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.engines import remote
from asyncinfer.transport import connections, descriptors
from asyncinfer.transport.base import Transport
from asyncinfer.transport.pooled import PooledTransport
from tests.faults import (
    Ask,
    Fault,
    FaultServer,
    after,
    stall,
)
from tests.transport.requests import failure, to

ROOT = Path(__file__).parents[2]


async def test_requests_wait_when_descriptors_are_used_up(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of connections stays within the descriptors, and no request fails."""
    free = os.dup(0)
    os.close(free)
    monkeypatch.setattr(descriptors, "connection_limit", lambda: free + 25)
    async with FaultServer() as server, anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(pooled.send, to(server.url))
    assert len(server.asks) == 60
    assert server.connections < 25
    assert [record.levelname for record in caplog.records if "open files" in record.message] == ["WARNING"]


async def test_wait_for_a_descriptor_does_not_count_towards_the_timeout(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "_POLL", 0.01)
    tries = fail_to_open(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=30)
    async with FaultServer() as server:
        assert (await pooled.send(to(server.url, timeout=0.2))).status == 200
    assert len(tries) == 31


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EMFILE, r"the limit of \d+ open files is reached. Raise it (ulimit -n), or lower"),
        (errno.ENFILE, "the machine has no free file descriptor. Close other programs, or lower"),
        (errno.ENOBUFS, "the machine has no memory left for sockets. Lower"),
    ],
)
async def test_wait_for_a_descriptor_is_bounded(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch, number: int, cause: str
) -> None:
    monkeypatch.setattr(descriptors, "_POLL", 0.01)
    monkeypatch.setattr(connections, "_MAX_SHORTAGE", 0.05)
    fail_to_open(monkeypatch, OSError(number, os.strerror(number)))
    async with FaultServer() as server:
        error = await failure(pooled, to(server.url))
    assert "none ended for 0.05 s, because " in str(error)
    assert re.search(cause.replace("(", r"\(").replace(")", r"\)") + " remote_params.num_workers", str(error))
    assert (error.error_type, error.is_retryable, error.is_overload) == (InferenceErrorType.CONNECTION, True, True)


async def test_requests_wait_when_ports_are_used_up(pooled: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address was reachable before, so the reason must be that no port is free."""
    monkeypatch.setattr(descriptors, "_POLL", 0.01)

    def script(ask: Ask) -> Fault | None:
        return stall if ask.question == "long" else None

    async with FaultServer(script) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(pooled.send, to(server.url, "long"))
        await server.until(lambda: server.in_flight == 1)
        tries = fail_to_open(monkeypatch, OSError(errno.EADDRNOTAVAIL, "Cannot assign address"), times=3)
        assert (await pooled.send(to(server.url))).status == 200
        assert len(tries) == 4
        tasks.cancel_scope.cancel()


async def test_unreachable_address_fails_at_once(pooled: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = fail_to_open(monkeypatch, OSError(errno.EADDRNOTAVAIL, "Cannot assign address"))
    async with FaultServer() as server:
        error = await failure(pooled, to(server.url))
    assert (error.error_type, error.is_overload, len(tries)) == (InferenceErrorType.CONNECTION, False, 1)


async def test_requests_wait_when_name_resolution_lacks_descriptors(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name resolution reports another error, so the transport tests whether a descriptor is free."""
    monkeypatch.setattr(descriptors, "_POLL", 0.01)
    lookups, resolve = list[str](), socket.getaddrinfo

    def lookup(host: str, *others: Any, **options: Any) -> Any:
        lookups.append(host)
        if len(lookups) <= 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *others, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(descriptors, "_none_is_free", lambda: len(lookups) <= 3)
    async with FaultServer() as server:
        request = to(server.url.replace("127.0.0.1", "localhost"))
        assert (await pooled.send(request)).status == 200
    assert len(lookups) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
async def test_descriptors_stay_free_for_files_with_more_workers_than_descriptors(tmp_path: Path) -> None:
    code = """
        import asyncio, resource, sys
        from asyncinfer import InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
        from tests.fakes import questions

        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

        async def main():
            remote = RemoteParams(api_url=sys.argv[1], num_workers=300, use_adaptive_concurrency=False)
            async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
                await engine.ainfer(questions(900), InferenceConfig(output_path=sys.argv[2]))

        asyncio.run(main())
    """
    async with FaultServer(lambda _: after(0.02)) as server:
        output = tmp_path / "out.jsonl"
        command = [sys.executable, "-c", textwrap.dedent(code), server.url, str(output)]
        with anyio.fail_after(60):
            await anyio.run_process(command, cwd=ROOT)
        assert (len(output.read_text().splitlines()), server.peak <= 96) == (900, True)


async def test_idle_connections_to_other_hosts_are_closed_when_descriptors_are_used_up(
    own: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FaultServer() as server, FaultServer() as other:
        await own.send(to(server.url))
        assert server.open_connections == 1
        own.release_idle()
        await server.until(lambda: not server.open_connections)
        await own.send(to(server.url))
        if isinstance(own, PooledTransport):
            tries = fail_to_open(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=1)
            assert (await own.send(to(other.url))).status == 200
            assert len(tries) == 2
            await server.until(lambda: not server.open_connections)
        assert (await own.send(to(server.url))).status == 200


async def test_no_idle_connection_is_closed_before_the_transport_is_used(own: Transport) -> None:
    own.release_idle()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    "adaptive",
    [
        {"use_adaptive_concurrency": False},
        {"adaptive": {"min_concurrency": 200, "max_concurrency": 400}},
        {"adaptive": {"min_concurrency": 192, "max_concurrency": 192}},
        {"adaptive": {"max_concurrency": 400, "initial_concurrency_factor": 1}},
    ],
)
def test_permits_follow_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, adaptive: dict[str, object]
) -> None:
    monkeypatch.setattr(remote, "possible_connections", lambda: 192)
    engine = RemoteInferenceEngine(
        ModelParams(model_name="m"),
        remote_params=RemoteParams.model_validate({"api_url": "http://h/v1", "num_workers": 400, **adaptive}),
    )
    assert engine._endpoint.permits() == 192
    assert engine._endpoint.most == 192
    [record] = caplog.records
    assert "num_workers: 400; the limit of open files (ulimit -n) allows 192" in record.getMessage()
    RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url="http://h/v1"))
    assert len(caplog.records) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("kind", ["own", "session"])
async def test_idle_connections_make_room_for_the_output(tmp_path: Path, kind: str) -> None:
    """The process uses up its descriptors during the run. The output is written all the same."""
    code = """
        import asyncio, os, resource, sys
        import aiohttp
        from asyncinfer import InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
        from tests.fakes import questions

        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

        def use_up(progress):
            if progress.completed == progress.total:
                try:
                    while True:
                        os.dup(2)
                except OSError:
                    pass

        async def main():
            remote = RemoteParams(api_url=sys.argv[1], num_workers=64, use_adaptive_concurrency=False)
            async with aiohttp.ClientSession() as session:
                given = session if sys.argv[3] == "session" else None
                model = ModelParams(model_name="m")
                async with RemoteInferenceEngine(model, remote_params=remote, session=given) as engine:
                    config = InferenceConfig(output_path=sys.argv[2])
                    await engine.ainfer(questions(300), config, on_progress=use_up)

        asyncio.run(main())
    """
    async with FaultServer(lambda _: after(0.02)) as server:
        output = tmp_path / "out.jsonl"
        command = [sys.executable, "-c", textwrap.dedent(code), server.url, str(output), kind]
        with anyio.fail_after(60):
            await anyio.run_process(command, cwd=ROOT)
        assert len(output.read_text().splitlines()) == 300


def fail_to_open(monkeypatch: pytest.MonkeyPatch, error: OSError, times: int | None = None) -> list[None]:
    """Make opening a socket fail, a number of times or always. The list gets an entry for each try."""
    tries: list[None] = []

    def limit() -> int | None:
        tries.append(None)
        if times is None or len(tries) <= times:
            raise error
        return None

    monkeypatch.setattr(descriptors, "connection_limit", limit)
    return tries


@pytest.mark.parametrize(("number", "possible"), [(errno.EMFILE, 1), (errno.EBADF, 1000)])
def test_closed_standard_error_does_not_look_like_a_shortage(
    number: int, possible: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(descriptors, "connection_limit", lambda: 1000)
    monkeypatch.setattr(descriptors.os, "dup", fail)
    assert descriptors.possible_connections() == possible
