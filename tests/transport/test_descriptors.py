"""The pooled transport waits when no file descriptor or port is free."""

from __future__ import annotations

import errno
import os
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import InferenceErrorType
from asyncinfer.transport import connections, descriptors
from asyncinfer.transport.base import Transport
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
    assert [record.levelname for record in caplog.records if "file descriptors" in record.message] == ["WARNING"]


async def test_wait_for_a_descriptor_does_not_count_towards_the_timeout(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "_POLL", 0.01)
    tries = fail_to_open(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=30)
    async with FaultServer() as server:
        assert (await pooled.send(to(server.url, timeout=0.2))).status == 200
    assert len(tries) == 31


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_wait_for_a_descriptor_is_bounded(
    pooled: Transport, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(descriptors, "_POLL", 0.01)
    monkeypatch.setattr(connections, "_MAX_SHORTAGE", 0.05)
    fail_to_open(monkeypatch, OSError(number, os.strerror(number)))
    async with FaultServer() as server:
        error = await failure(pooled, to(server.url))
    assert "no connection ended for 0.05 s. Raise the limit (ulimit -n)" in str(error)
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
