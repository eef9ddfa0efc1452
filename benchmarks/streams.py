"""CPU per delta of concurrent streams: `astream` against plain aiohttp with `json.loads`, and the openai SDK.

A local server on a core of its own sends 200 deltas per stream, one at a time. Each client has a process and a core of
its own, and reads 100 streams at once. The ratios compare with plain aiohttp in the same round.

    python benchmarks/streams.py [--streams 500] [--rounds 5] [--out benchmarks/results]

The openai SDK is left out if it is not installed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from client_overhead import (
    AT_ONCE,
    Responder,
    Spent,
    in_child,
    messages,
    parser_for,
    pin,
    serve_with,
    server,
    start,
    workers,
)
from plots import plot_ratios

DELTAS = 200
CLIENTS = {"aiohttp": None, "astream": None, "openai": "openai"}
# The slow ones get fewer streams.
SHARE = {"openai": 5}


class Streamer(Responder):
    """Sends the deltas of one answer, each in a write of its own."""

    def __init__(self, events: list[bytes]) -> None:
        super().__init__()
        self._events = events

    def respond(self) -> None:
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

    serve_with(lambda: Streamer(events))


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
    with server(__file__) as url:
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
    plot_ratios(ratios, "CPU per delta, in that of plain aiohttp", out / "streams.png", wanted=1.5)


def main() -> None:
    args = parser_for(__doc__, "streams", 500).parse_args()
    start(args, ASK, serve, lambda: compare(args.streams, args.rounds, args.out))


if __name__ == "__main__":
    main()
