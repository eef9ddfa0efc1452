"""Requests a second of single calls: `agenerate` and `ainfer([one])`, against plain aiohttp and SDKs, in one run.

The local server of `client_overhead.py` answers at once, on a core of its own; each client runs on another, in a process
of its own, with 100 calls in flight. Every round begins with plain aiohttp, so that its ratios compare what ran side by
side.

    python benchmarks/single_calls.py [--calls 5000] [--rounds 5] [--out benchmarks/results]

Clients that are not installed (openai, litellm) are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from client_overhead import AT_ONCE, QUESTION, pin, plain_aiohttp, server, with_litellm, with_openai, workers

from asyncinfer import (
    Conversation,
    GenerationParams,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Role,
)

CLIENTS = {"aiohttp": None, "agenerate": None, "ainfer([one])": None, "openai": "openai", "litellm": "litellm"}
# The slow ones get fewer calls; a rate needs no more.
SHARE = {"ainfer([one])": 5, "openai": 5, "litellm": 10}


async def with_asyncinfer(url: str, calls: int, *, as_run: bool) -> float:
    remote = RemoteParams(api_url=url, num_workers=AT_ONCE)
    generation = GenerationParams(max_new_tokens=1024, temperature=0.0)
    async with RemoteInferenceEngine(
        ModelParams(model_name="m"), generation_params=generation, remote_params=remote
    ) as engine:

        async def ask(i: int) -> None:
            conversation = Conversation(messages=[Message(role=Role.USER, content=QUESTION.format(i))])
            if as_run:
                await engine.ainfer([conversation])
            else:
                await engine.agenerate(conversation)

        await asyncio.gather(*(ask(i) for i in range(AT_ONCE)))
        await asyncio.sleep(2.0)  # The permits have grown to AT_ONCE by then, as in an app that has run for a while.
        await asyncio.gather(*(ask(i) for i in range(AT_ONCE)))
        return await workers(calls, ask)


ASK: dict[str, Any] = {
    "aiohttp": plain_aiohttp,
    "agenerate": partial(with_asyncinfer, as_run=False),
    "ainfer([one])": partial(with_asyncinfer, as_run=True),
    "openai": with_openai,
    "litellm": with_litellm,
}


def measure(client: str, url: str, calls: int) -> None:
    pin(0)
    cpu = time.process_time()
    seconds = asyncio.run(ASK[client](url, calls))
    print(json.dumps({"rate": calls / seconds, "cpu_us": (time.process_time() - cpu) / calls * 1e6}))


def in_child(client: str, url: str, calls: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", client, url, str(calls)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(calls: int, rounds: int, out: Path) -> None:
    clients = [name for name, module in CLIENTS.items() if module is None or find_spec(module) is not None]
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    with server() as url:
        for _ in range(rounds):
            base = in_child("aiohttp", url, calls)["rate"]
            for name in clients:
                got = in_child(name, url, calls // SHARE.get(name, 1))
                samples[name].append({**got, "ratio": got["rate"] / base})
    results = {
        name: {key: statistics.median(sample[key] for sample in runs) for key in runs[0]}
        for name, runs in samples.items()
    }
    print(f"{'client':>14} {'calls/s':>8} {'/aiohttp':>9} {'CPU/call':>10}")
    for name, got in results.items():
        print(f"{name:>14} {got['rate']:>8.0f} {got['ratio']:>9.2f} {got['cpu_us']:>7.0f} us")
    out.mkdir(parents=True, exist_ok=True)
    (out / "single_calls.json").write_text(json.dumps(results, indent=2) + "\n")
    plot(results, out / "single_calls.png")


def plot(results: dict[str, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3))
    axes.barh(list(results), [got["ratio"] for got in results.values()])
    axes.axvline(0.9, linestyle="--", color="gray", label="wanted of agenerate")
    axes.invert_yaxis()
    axes.set(xlabel="calls/s, in those of plain aiohttp")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--measure", nargs=3)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], args.measure[1], int(args.measure[2]))
    else:
        compare(args.calls, args.rounds, args.out)


if __name__ == "__main__":
    main()
