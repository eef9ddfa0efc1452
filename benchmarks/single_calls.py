"""Requests a second of single calls: `agenerate` and `ainfer([one])`, against plain aiohttp and SDKs, in one run.

Measured as in `client_overhead.py`: the local server answers at once, each client has a process and a core of its own and
100 calls in flight, and the ratios compare with plain aiohttp in the same round.

    python benchmarks/single_calls.py [--calls 5000] [--rounds 5] [--out benchmarks/results]

Clients that are not installed (openai, litellm) are left out.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from client_overhead import (
    AT_ONCE,
    QUESTION,
    Spent,
    parser_for,
    plain_aiohttp,
    serve,
    server,
    side_by_side,
    start,
    with_litellm,
    with_openai,
    workers,
)
from plots import plot_ratios

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


async def with_asyncinfer(url: str, calls: int, *, as_run: bool) -> Spent:
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

        # The permits grow to AT_ONCE while requests are sent, as in an application that has run for a while.
        end = time.perf_counter() + 2.5
        while time.perf_counter() < end:
            await asyncio.gather(*(ask(i) for i in range(AT_ONCE)))
        return await workers(calls, ask)


ASK: dict[str, Any] = {
    "aiohttp": plain_aiohttp,
    "agenerate": partial(with_asyncinfer, as_run=False),
    "ainfer([one])": partial(with_asyncinfer, as_run=True),
    "openai": with_openai,
    "litellm": with_litellm,
}


def compare(calls: int, rounds: int, out: Path) -> None:
    with server() as url:
        results = side_by_side(CLIENTS, SHARE, url, calls, rounds, __file__)
    print(f"{'client':>14} {'calls/s':>8} {'/aiohttp':>9} {'CPU/call':>10}")
    for name, got in results.items():
        print(f"{name:>14} {got['rate']:>8.0f} {got['ratio']:>9.2f} {got['cpu_us']:>7.0f} us")
    out.mkdir(parents=True, exist_ok=True)
    (out / "single_calls.json").write_text(json.dumps(results, indent=2) + "\n")
    ratios = {name: got["ratio"] for name, got in results.items()}
    plot_ratios(ratios, "calls/s, in those of plain aiohttp", out / "single_calls.png")


def main() -> None:
    args = parser_for(__doc__, "calls", 5_000).parse_args()
    start(args, ASK, serve, lambda: compare(args.calls, args.rounds, args.out))


if __name__ == "__main__":
    main()
