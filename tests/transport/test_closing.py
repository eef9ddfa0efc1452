"""How transports, and engines that are never closed, end."""

from __future__ import annotations

import gc
import sys
import textwrap
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from asyncinfer import InferenceErrorType, ModelParams, RemoteInferenceEngine, RemoteParams, RequestError
from asyncinfer.aio.tasks import task_group
from asyncinfer.transport.base import Transport
from tests.fakes import question
from tests.faults import (
    FaultServer,
    sse,
    stall,
)
from tests.transport.requests import to

ROOT = Path(__file__).parents[2]


def engine_for(server: FaultServer) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=server.url))


async def test_closing_ends_a_stream_that_is_read(transport: Transport) -> None:
    async with FaultServer(lambda _: sse(["a"], stall)) as server, transport.stream(to(server.url)) as streamed:
        chunks = streamed.chunks()
        assert b'"a"' in await anext(chunks)  # type: ignore[arg-type]
        with pytest.raises(RequestError, match="closed") as caught:
            async with task_group() as tasks:
                tasks.start_soon(transport.aclose)
                await anext(chunks)  # type: ignore[arg-type]
        assert caught.value.error_type == InferenceErrorType.CONNECTION


async def test_closing_the_transport_ends_connections_and_allows_new_ones(own: Transport) -> None:
    async with FaultServer() as server:
        for _ in range(2):
            await own.send(to(server.url))
            assert server.open_connections == 1
            await own.aclose()
            await server.until(lambda: not server.open_connections)


async def test_closing_ends_connections_of_other_loops() -> None:
    async with FaultServer() as server:
        engine = engine_for(server)
        await to_thread.run_sync(engine.infer, [question("from the portal's loop")])
        await engine.ainfer([question("from this one")])
        assert server.open_connections == 2
        await engine.aclose()
        await server.until(lambda: not server.open_connections)


async def test_garbage_collected_engine_closes_its_connections() -> None:
    async with FaultServer() as server:
        engine = engine_for(server)
        await engine.ainfer([question("a")])
        assert server.open_connections == 1
        del engine
        gc.collect()
        await server.until(lambda: not server.open_connections)


SCRIPTS = {
    "asyncio.run": """
        async def main():
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "asyncio.run, twice": """
        for _ in range(2):
            asyncio.run(engine.ainfer(asked))
        print("done")
    """,
    "sync": """
        engine.infer(asked)
        print("done")
    """,
    "sync inside a running loop": """
        async def main():
            engine.infer(asked)
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "sync close inside a running loop": """
        async def main():
            await engine.ainfer(asked)
            engine.close()
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "closed by another loop, later": """
        asyncio.run(engine.ainfer(asked))
        engine.close()
        print("done")
    """,
    "closed while its loop pauses": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(engine.ainfer(asked))
        engine.close()
        loop.run_until_complete(engine.ainfer(asked))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        print("done")
    """,
    "dropped while the loop goes on": """
        async def main():
            global engine
            await engine.ainfer(asked)
            del engine
            gc.collect()
            await asyncio.sleep(0.05)
            gc.collect()
            print("done")
        asyncio.run(main())
    """,
    "a stream that is not read to its end": """
        async def main():
            stream = engine.astream(asked[0])
            await anext(stream)
            print("done")
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("lacking", [(), ("a name",)], ids=["pooled", "fallback"])
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_process_with_an_engine_that_is_never_closed_exits_without_warnings(
    script: str, lacking: tuple[str, ...]
) -> None:
    """No ResourceWarning, no 'Unclosed client session', no hanging thread."""
    code = textwrap.dedent(
        f"""
        import asyncio, gc, logging, sys
        sys.path.insert(0, sys.argv[2])
        from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
        from asyncinfer.transport import compat
        from tests.fakes import questions
        compat.missing = lambda: {lacking!r}
        logging.getLogger("asyncinfer").setLevel(logging.ERROR)  # the fallback is reported as a warning
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # development mode warns of slow callbacks
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=sys.argv[1]))
        asked = questions(3)
        """
    ) + textwrap.dedent(script)
    async with FaultServer() as server:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, server.url, str(ROOT)]
        with anyio.fail_after(20):
            done = await anyio.run_process(command, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "done\n", "")
