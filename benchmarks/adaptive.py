"""How much of a server's capacity a client uses, and how much it has refused, when it is not told the capacity.

A local server, in a process of its own, admits a token bucket's worth of requests and refuses the others at
once with 429; or it queues them all and works them off. asyncinfer as it comes, with up to 256 requests in
flight, is set beside a fixed concurrency of 256 and lm-deluge (left out if it is not installed). A case has
rows enough for its time, and is measured by the server over that time; the rows left then are still
answered, so that each client can be asked for what it lost.

    python benchmarks/adaptive.py [--seconds 30] [--burst 1.0] [--out benchmarks/results]

The plot shows asyncinfer's permits and pace over each case's capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WORKERS = 256
LATENCY = 0.05  # seconds
CLIENTS = ("adaptive", "fixed 256", "lm-deluge")
# What a client may take beyond a case's time to answer the rows that are left, in seconds.
GRACE = 15.0


@dataclass(frozen=True)
class Case:
    """A server: so many requests a second in each phase, of `seconds` each."""

    rates: Sequence[float]
    seconds: float
    burst: float
    retry_after: bool = False
    queues: bool = False

    @property
    def name(self) -> str:
        rates = ", then ".join(f"{rate:g}" for rate in self.rates)
        return f"{rates}/s" + (", queueing" if self.queues else ", Retry-After" if self.retry_after else "")

    @property
    def time(self) -> float:
        return len(self.rates) * self.seconds

    @property
    def capacity(self) -> float:
        """What the server can admit in its time, the full bucket at the beginning included."""
        return sum(self.rates) * self.seconds + (0 if self.queues else self.most(0.0))

    def rate(self, elapsed: float) -> float:
        return self.rates[min(int(elapsed / self.seconds), len(self.rates) - 1)]

    def most(self, elapsed: float) -> float:
        return max(1.0, self.rate(elapsed) * self.burst)


def groups(seconds: float, burst: float) -> list[list[Case]]:
    """The cases; those of one group run side by side, as none keeps a core busy."""

    def both(*rates: float) -> list[Case]:
        return [Case(rates, seconds, burst, retry_after) for retry_after in (False, True)]

    queueing = Case((100,), seconds, burst, queues=True)
    return [both(100), both(100, 50), both(50, 150), [*both(10), queueing]]


# The server


class Bucket:
    """Admits what has come together; keeps count of each second."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.began: float | None = None
        self.admitted = [0] * math.ceil(case.time)
        self.refused = [0] * math.ceil(case.time)
        self._tokens = case.most(0.0)
        self._at = self._free = 0.0

    def ask(self) -> tuple[bool, float]:
        """Whether a request is admitted, and the seconds until it is answered, or may come again."""
        if self.began is None:
            self.began = time.monotonic()
        elapsed = time.monotonic() - self.began
        if self.case.queues:
            self._free = max(self._free, elapsed) + 1 / self.case.rate(elapsed)
            self._count(self.admitted, self._free)
            return True, self._free - elapsed
        rate = self.case.rate(elapsed)
        self._tokens = min(self.case.most(elapsed), self._tokens + rate * (elapsed - self._at))
        self._at = elapsed
        if self._tokens < 1:
            self._count(self.refused, elapsed)
            return False, max(1, math.ceil((1 - self._tokens) / rate))
        self._tokens -= 1
        self._count(self.admitted, elapsed)
        return True, LATENCY

    def _count(self, counts: list[int], elapsed: float) -> None:
        if elapsed < self.case.time:
            counts[int(elapsed)] += 1


def serve(case: Case) -> None:
    from aiohttp import web

    bucket = Bucket(case)
    answer = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
    body = json.dumps(answer)

    async def chat(request: web.Request) -> web.Response:
        admitted, seconds = bucket.ask()
        await request.read()
        if admitted:
            await asyncio.sleep(seconds)
            return web.Response(text=body, content_type="application/json")
        headers = {"Retry-After": f"{seconds:.0f}"} if case.retry_after else {}
        return web.json_response({"error": {"message": "rate limit reached"}}, status=429, headers=headers)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"began": bucket.began, "admitted": bucket.admitted, "refused": bucket.refused})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_get("/stats", stats)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def server(case: Case) -> Generator[str]:
    command = [sys.executable, __file__, "--serve", json.dumps(asdict(case))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# The clients. Each takes the URL and the number of rows, and returns how many were answered.


async def with_asyncinfer(url: str, rows: int, *, adaptive: bool) -> dict[str, Any]:
    from asyncinfer import Conversation, Message, ModelParams, RemoteInferenceEngine, RemoteParams, Role

    remote = RemoteParams(api_url=f"{url}/v1", num_workers=WORKERS, use_adaptive_concurrency=adaptive)
    asked = [Conversation(messages=[Message(role=Role.USER, content=f"Question {i}?")]) for i in range(rows)]
    course: list[tuple[float, int, float | None]] = []
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        endpoint = engine._endpoint

        async def watch() -> None:
            while True:
                now = time.monotonic()
                course.append((now, endpoint.permits(), endpoint._pace.rate(now) if endpoint._pace else None))
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        result = await engine.ainfer_partial(asked)
        watching.cancel()
    cuts = [(at, rate) for at, _, rate, why in endpoint.trace if why == "refused"]
    return {"answered": len(result.successful), "course": course, "cuts": cuts}


async def with_lm_deluge(url: str, rows: int) -> dict[str, Any]:
    from importlib import import_module

    deluge: Any = import_module("lm_deluge")
    os.environ["NO_KEY"] = "none"
    import_module("lm_deluge.models").register_model(
        id="local", name="m", api_base=f"{url}/v1", api_key_env_var="NO_KEY", api_spec="openai", regions=[]
    )
    client = deluge.LLMClient(
        "local",
        max_requests_per_minute=100_000_000,
        max_tokens_per_minute=100_000_000_000,
        max_concurrent_requests=WORKERS,
        progress="manual",
    )
    answers = await client.process_prompts_async([f"Question {i}?" for i in range(rows)], show_progress=False)
    return {"answered": sum(not answer.is_error for answer in answers)}


async def ask(client: str, url: str, rows: int) -> dict[str, Any]:
    if client == "lm-deluge":
        return await with_lm_deluge(url, rows)
    return await with_asyncinfer(url, rows, adaptive=client == "adaptive")


# Measuring


async def measure(client: str, case: Case) -> dict[str, Any]:
    """Run `client`, in a process of its own, against a server of its own."""
    import aiohttp

    rows = math.ceil(case.capacity * 1.03) + 10
    with server(case) as url:
        command = [sys.executable, __file__, "--client", client, url, str(rows)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), case.time * 1.1 + GRACE)
            got: dict[str, Any] = json.loads(output.splitlines()[-1])
        except TimeoutError:
            process.kill()
            await process.wait()
            got = {"answered": None}
        async with aiohttp.ClientSession() as session, session.get(f"{url}/stats") as response:
            stats = await response.json()
    admitted, refused = sum(stats["admitted"]), sum(stats["refused"])
    return {
        "used": admitted / case.capacity,
        "refused": refused / max(1, admitted + refused),
        # None: there was no end in the time that it was given.
        "lost": None if got["answered"] is None else rows - got["answered"],
        "rows": rows,
        "began": stats["began"],
        "admitted": stats["admitted"],
        "course": got.get("course", []),
        "cuts": got.get("cuts", []),
    }


async def compare(all_groups: Sequence[Sequence[Case]], out: Path) -> None:
    clients = [client for client in CLIENTS if client != "lm-deluge" or find_spec("lm_deluge") is not None]
    results: dict[str, dict[str, dict[str, Any]]] = {case.name: {} for group in all_groups for case in group}
    for client in clients:
        for group in all_groups:
            for case, got in zip(group, await asyncio.gather(*(measure(client, case) for case in group)), strict=True):
                results[case.name][client] = got
                print(f"{client}, {case.name}: {cell(got)}", file=sys.stderr, flush=True)
    print("share of capacity used, of requests refused; rows lost (?: it had not ended in the time it was given)")
    print(f"{'':>28}" + "".join(f"{client:>24}" for client in clients))
    for name, by_client in results.items():
        print(f"{name:>28}" + "".join(f"{cell(by_client[client]):>24}" for client in clients))
    out.mkdir(parents=True, exist_ok=True)
    brief = {
        name: {client: {key: got[key] for key in ("used", "refused", "lost", "rows")} for client, got in found.items()}
        for name, found in results.items()
    }
    (out / "adaptive.json").write_text(json.dumps(brief, indent=2) + "\n")
    plot([case for group in all_groups for case in group], results, out / "adaptive.png")


def cell(got: dict[str, Any]) -> str:
    lost = "?" if got["lost"] is None else got["lost"]
    return f"{got['used']:.1%} {got['refused']:.1%} {lost}"


def plot(cases: Sequence[Case], results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(math.ceil(len(cases) / 2), 2, figsize=(11, 2.4 * math.ceil(len(cases) / 2)))
    for case, axes in zip(cases, grid.flat, strict=False):
        got = results[case.name]["adaptive"]
        began = got["began"]
        times = [at - began for at, _, _ in got["course"]]
        top = 2 * max(case.rates)
        steps = [i / 10 for i in range(int(case.time * 10))]
        axes.plot(steps, [case.rate(at) for at in steps], color="black", linestyle="--", label="capacity")
        axes.step(range(len(got["admitted"])), got["admitted"], where="post", color="C2", alpha=0.5, label="admitted")
        pace = [math.nan if rate is None else rate for _, _, rate in got["course"]]
        axes.plot(times, pace, color="C0", label="pace")
        axes.plot(
            [at - began for at, _ in got["cuts"]], [rate for _, rate in got["cuts"]], ".", color="C3", label="cut"
        )
        axes.set(title=f"{case.name}: {cell(got)}", ylim=(0, top), xlim=(0, case.time), ylabel="requests/s")
        right = axes.twinx()
        right.step(times, [permits for _, permits, _ in got["course"]], where="post", color="C1", label="permits")
        right.set(ylim=(0, WORKERS * 1.05), ylabel="permits")
    for axes in list(grid.flat)[len(cases) :]:
        axes.axis("off")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    from matplotlib.lines import Line2D

    figure.legend([*handles, Line2D([], [], color="C1")], [*labels, "permits (right)"], loc="lower right", ncols=3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--burst", type=float, default=1.0, help="seconds' worth of requests that the server saves up")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--serve")
    parser.add_argument("--client", nargs=3)
    args = parser.parse_args()
    if args.serve:
        serve(Case(**json.loads(args.serve)))
    elif args.client:
        client, url, rows = args.client
        print(json.dumps(asyncio.run(ask(client, url, int(rows)))))
    else:
        asyncio.run(compare(groups(args.seconds, args.burst), args.out))


if __name__ == "__main__":
    main()
