"""Requests a second of asyncinfer with everything on, against plain aiohttp and other clients, in one run.

One local server answers at once, on a core of its own; each client runs on another, in a process of its own,
with 100 requests in flight. asyncinfer reads a file, validates it, adapts, saves each row with fsync and
writes the output; the others only ask. Every round begins with plain aiohttp, so that its ratios compare
what ran side by side.

    python benchmarks/client_overhead.py [--rows 5000] [--many 200000] [--rounds 5] [--out benchmarks/results]

Clients that are not installed (openai, litellm, lm-deluge) are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from plots import plot_ratios

AT_ONCE = 100
QUESTION = "What is the capital of France, and since when? Answer in a few sentences, please. Number {}."
ANSWER = "Paris is the capital of France, and has been for most of the time since the tenth century. " * 5
CLIENTS = {"aiohttp": None, "asyncinfer": None, "lm-deluge": "lm_deluge", "openai": "openai", "litellm": "litellm"}
# The slow ones get fewer rows; a rate needs no more.
SHARE = {"openai": 5, "litellm": 5}


# The server


class Responder(asyncio.Protocol):
    """The least of HTTP: reads each request by its Content-Length, and sends the same answer to all of them."""

    def __init__(self, response: bytes = b"") -> None:
        self._response = response
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self.respond()

    def respond(self) -> None:
        """Answer one request."""
        self._transport.write(self._response)


def serve() -> None:
    pin(-1)
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    serve_with(lambda: Responder(head.encode() + body))


def serve_with(make_protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve on a free port, and print it."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(make_protocol, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def pin(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core]})


@contextmanager
def server(script: str = __file__) -> Generator[str]:
    """The URL of the server that `script --serve` runs in a process of its own."""
    process = subprocess.Popen([sys.executable, script, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# The clients. Each takes the URL and the number of rows, warms up, and returns what it took.


def messages(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION.format(i)}]


class Spent(NamedTuple):
    """What the measured part of a client took, in seconds: without imports and the first request."""

    seconds: float
    cpu: float


class Stopwatch:
    """Measures from its creation."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._began[0], time.process_time() - self._began[1])


async def workers(count: int, ask: Any) -> Spent:
    """What `AT_ONCE` loops of `await ask(i)` take for all rows."""
    left = iter(range(count))

    async def worker() -> None:
        for i in left:
            await ask(i)

    await ask(0)
    watch = Stopwatch()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return watch.spent()


async def plain_aiohttp(url: str, rows: int) -> Spent:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(i: int) -> None:
            body = {"model": "m", "messages": messages(i), "max_tokens": 1024, "temperature": 0}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.json()

        return await workers(rows, ask)


async def with_openai(url: str, rows: int) -> Spent:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        async def ask(i: int) -> None:
            given: Any = messages(i)
            await client.chat.completions.create(model="m", messages=given, max_tokens=1024, temperature=0)

        return await workers(rows, ask)


async def with_litellm(url: str, rows: int) -> Spent:
    lite: Any = import_module("litellm")
    lite.suppress_debug_info = True

    async def ask(i: int) -> None:
        await lite.acompletion(
            model="openai/m", messages=messages(i), api_base=url, api_key="none", max_tokens=1024, temperature=0
        )

    return await workers(rows, ask)


async def with_lm_deluge(url: str, rows: int) -> Spent:
    deluge: Any = import_module("lm_deluge")
    os.environ["NO_KEY"] = "none"
    import_module("lm_deluge.models").register_model(
        id="local", name="m", api_base=url, api_key_env_var="NO_KEY", api_spec="openai", regions=[]
    )
    client = deluge.LLMClient(
        "local",
        max_requests_per_minute=100_000_000,
        max_tokens_per_minute=100_000_000_000,
        max_concurrent_requests=AT_ONCE,
        progress="manual",
    )
    await client.process_prompts_async([QUESTION.format(0)], show_progress=False)
    watch = Stopwatch()
    await client.process_prompts_async([QUESTION.format(i) for i in range(rows)], show_progress=False)
    return watch.spent()


async def with_asyncinfer(url: str, rows: int) -> Spent:
    from asyncinfer import InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams

    folder = Path(tempfile.mkdtemp(prefix="client_overhead_"))
    try:
        for name, count in (("warm.jsonl", 100), ("in.jsonl", rows)):
            with (folder / name).open("w") as file:
                file.writelines(json.dumps({"messages": messages(i)}) + "\n" for i in range(count))
        remote = RemoteParams(api_url=url, num_workers=AT_ONCE)
        async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
            out = str(folder / "out.jsonl")
            await engine.arun(InferenceConfig(input_path=str(folder / "warm.jsonl"), output_path=out))
            watch = Stopwatch()
            summary = await engine.arun(InferenceConfig(input_path=str(folder / "in.jsonl"), output_path=out))
            spent = watch.spent()
        assert summary.completed == rows, summary
        return spent
    finally:
        shutil.rmtree(folder)


ASK = {
    "aiohttp": plain_aiohttp,
    "asyncinfer": with_asyncinfer,
    "lm-deluge": with_lm_deluge,
    "openai": with_openai,
    "litellm": with_litellm,
}


def measure(ask: Any, url: str, rows: int) -> None:
    """Print what `await ask(url, rows)`, which returns a `Spent`, costs in this process."""
    pin(0)
    spent = asyncio.run(ask(url, rows))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": rows / spent.seconds, "cpu_us": spent.cpu / rows * 1e6, "rss_mb": rss}))


def in_child(client: str, url: str, rows: int, script: str = __file__) -> dict[str, float]:
    """What `measure` prints in a process of its own, which `script --measure` starts."""
    command = [sys.executable, script, "--measure", client, url, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def side_by_side(
    clients: Mapping[str, str | None],
    share: Mapping[str, int],
    url: str,
    rows: int,
    rounds: int,
    script: str = __file__,
) -> dict[str, dict[str, float]]:
    """The medians for each client that is installed, with its rate relative to plain aiohttp in the same round.

    Args:
        clients: The module that each client needs.
        share: For slow clients, the part of the rows that they get: one in so many.
    """
    samples: dict[str, list[dict[str, float]]] = {
        name: [] for name, module in clients.items() if module is None or find_spec(module) is not None
    }
    for _ in range(rounds):
        base = in_child("aiohttp", url, rows, script)["rate"]
        for name, runs in samples.items():
            got = in_child(name, url, rows // share.get(name, 1), script)
            runs.append({**got, "ratio": got["rate"] / base})
    return {
        name: {key: statistics.median(sample[key] for sample in runs) for key in runs[0]}
        for name, runs in samples.items()
    }


def parser_for(description: str | None, unit: str, count: int) -> argparse.ArgumentParser:
    """The arguments of these benchmarks. `--serve` and `--measure` are for the processes that they start."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{unit}", type=int, default=count)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    return parser


def start(
    args: argparse.Namespace, ask: Mapping[str, Any], serve: Callable[[], None], compare: Callable[[], None]
) -> None:
    """Serve, measure one client, or compare all of them, as the arguments say."""
    if args.serve:
        serve()
    elif args.measure:
        client, url, count = args.measure
        measure(ask[client], url, int(count))
    else:
        compare()


def main() -> None:
    parser = parser_for(__doc__, "rows", 5_000)
    parser.add_argument("--many", type=int, default=200_000)
    args = parser.parse_args()
    start(args, ASK, serve, lambda: compare(args.rows, args.many, args.rounds, args.out))


def compare(rows: int, many: int, rounds: int, out: Path) -> None:
    with server() as url:
        results = side_by_side(CLIENTS, SHARE, url, rows, rounds)
        pairs = [
            (in_child("asyncinfer", url, rows), in_child("asyncinfer", url, many)) for _ in range(2 if many else 0)
        ]
    print(f"{'client':>12} {'requests/s':>11} {'/aiohttp':>9} {'CPU/request':>12} {'RSS MB':>7}")
    for name, got in results.items():
        print(f"{name:>12} {got['rate']:>11.0f} {got['ratio']:>9.2f} {got['cpu_us']:>9.0f} us {got['rss_mb']:>7.0f}")
    if pairs:
        few_rate, many_rate = (statistics.median(pair[i]["rate"] for pair in pairs) for i in (0, 1))
        rss = max(pair[1]["rss_mb"] for pair in pairs)
        results[f"asyncinfer, {many} rows"] = {"rate": many_rate, "ratio_to_few": many_rate / few_rate, "rss_mb": rss}
        print(
            f"asyncinfer, {many} rows: {many_rate:.0f} requests/s, {many_rate / few_rate:.2f} of {rows} rows; {rss:.0f} MB"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "client_overhead.json").write_text(json.dumps(results, indent=2) + "\n")
    shown = {name: got["ratio"] for name, got in results.items() if "ratio" in got}
    plot_ratios(shown, "requests/s, in those of plain aiohttp", out / "client_overhead.png")


if __name__ == "__main__":
    main()
