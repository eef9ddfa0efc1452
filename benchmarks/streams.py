"""CPU per delta of concurrent streams: `astream` against plain aiohttp with `json.loads`, and the openai SDK.

A local server on a core of its own sends 200 deltas per stream, one at a time. Each client has a process and a core of
its own, and reads 100 streams at once. The ratios compare with plain aiohttp in the same round.

    python benchmarks/streams.py [--streams 500] [--rounds 5] [--out benchmarks/results]

The openai SDK is left out if it is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from client_overhead import AT_ONCE, Spent, in_child, measure, messages, pin, plot, workers

DELTAS = 200
CLIENTS = {"aiohttp": None, "astream": None, "openai": "openai"}
# The slow ones get fewer streams.
SHARE = {"openai": 5}


class Streamer(asyncio.Protocol):
    """Reads a request by its Content-Length, and sends the deltas of one answer, each in a write of its own."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = events
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        head = self._buffer[: max(end, 0)].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if end < 0 or len(self._buffer) < end + 4 + length:
            return
        self._buffer = self._buffer[end + 4 + length :]
        self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in self._events:
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0)
        self._transport.write(b"0\r\n\r\n")


def serve() -> None:
    pin(-1)

    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    events = [event({"content": "word "})] * DELTAS + [event({}, "stop"), b"data: [DONE]\n\n"]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Streamer(events), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def server() -> Generator[str]:
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def plain_aiohttp(url: str, streams: int) -> Spent:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(i: int) -> None:
            body = {"model": "m", "messages": messages(i), "stream": True}
            count = 0
            async with session.post(f"{url}/chat/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        json.loads(line[6:])
                        count += 1
            assert count == DELTAS + 1

        return await workers(streams, ask)


async def with_astream(url: str, streams: int) -> Spent:
    from asyncinfer import Conversation, Message, ModelParams, RemoteInferenceEngine, RemoteParams, Role

    remote = RemoteParams(api_url=url, num_workers=AT_ONCE)
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:

        async def ask(i: int) -> None:
            conversation = Conversation(messages=[Message(role=Role.USER, content=messages(i)[0]["content"])])
            count = 0
            async for _ in engine.astream(conversation):
                count += 1
            assert count == DELTAS + 1

        return await workers(streams, ask)


async def with_openai(url: str, streams: int) -> Spent:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        async def ask(i: int) -> None:
            given: Any = messages(i)
            count = 0
            async for _ in await client.chat.completions.create(model="m", messages=given, stream=True):
                count += 1
            assert count == DELTAS + 1

        return await workers(streams, ask)


ASK: dict[str, Any] = {"aiohttp": plain_aiohttp, "astream": with_astream, "openai": with_openai}


def compare(streams: int, rounds: int, out: Path) -> None:
    clients = [name for name, module in CLIENTS.items() if module is None or find_spec(module) is not None]
    samples: dict[str, list[float]] = {name: [] for name in clients}
    with server() as url:
        for _ in range(rounds):
            for name in clients:
                got = in_child(name, url, streams // SHARE.get(name, 1), __file__)
                samples[name].append(got["cpu_us"] / DELTAS)
    base = samples["aiohttp"]
    results = {
        name: {
            "us_per_delta": statistics.median(costs),
            "ratio": statistics.median(cost / plain for cost, plain in zip(costs, base, strict=True)),
        }
        for name, costs in samples.items()
    }
    print(f"{'client':>10} {'CPU/delta':>10} {'/aiohttp':>9}")
    for name, got in results.items():
        print(f"{name:>10} {got['us_per_delta']:>7.1f} us {got['ratio']:>9.2f}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "streams.json").write_text(json.dumps(results, indent=2) + "\n")
    ratios = {name: got["ratio"] for name, got in results.items()}
    plot(ratios, "CPU per delta, in that of plain aiohttp", out / "streams.png", wanted=1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--measure", nargs=3)
    args = parser.parse_args()
    if args.serve:
        serve()
    elif args.measure:
        measure(ASK[args.measure[0]], args.measure[1], int(args.measure[2]))
    else:
        compare(args.streams, args.rounds, args.out)


if __name__ == "__main__":
    main()
