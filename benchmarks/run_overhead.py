"""What a row costs beside the model: an engine that answers at once, file to file, scratch and fsync on.

Each size runs in a process of its own. CPU time per row is set against one plain aiohttp request to a
local server in the same run; resuming a finished scratch file, against `json.loads` of its lines.

    python benchmarks/run_overhead.py [--rows 5000 100000 1000000] [--out benchmarks/results]
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
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncinfer import (
    Conversation,
    FinishReason,
    InferenceConfig,
    InferenceEngineType,
    Message,
    ModelParams,
    RemoteParams,
    Role,
    Usage,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.types.answer import Completion

ANSWER = "Paris is the capital of France, and has been for most of the time since the tenth century. " * 5
QUESTION = "What is the capital of France, and since when? Answer in a few sentences, please. Number {}."

COMPLETION = Completion(Message(role=Role.ASSISTANT, content=ANSWER), FinishReason.STOP, Usage(40, 100, 140))


class Instant(BoundEngine):
    """Answers at once."""

    async def generate(self, conversation: Conversation) -> Completion:
        return COMPLETION


class InstantEngine(BaseInferenceEngine):
    """Answers at once."""

    engine_type = InferenceEngineType.REMOTE

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set()

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return Instant()


def engine() -> InstantEngine:
    return InstantEngine(ModelParams(model_name="instant"), remote_params=RemoteParams(num_workers=100))


def write_input(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for i in range(rows):
            messages = [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": QUESTION.format(i)},
            ]
            file.write(json.dumps({"conversation_id": f"q{i}", "messages": messages, "metadata": {"n": i}}) + "\n")


def config(folder: Path) -> InferenceConfig:
    return InferenceConfig(input_path=str(folder / "in.jsonl"), output_path=str(folder / "out.jsonl"))


def cpu() -> float:
    return time.process_time()


def warm_up(folder: Path) -> None:
    """Import what a run needs, which costs the same for any number of rows."""
    small = folder / "small"
    small.mkdir()
    write_input(small / "in.jsonl", 2)
    asyncio.run(engine().arun(config(small)))
    shutil.rmtree(small)


def measure_run(folder: Path, rows: int) -> dict[str, float]:
    """One run, file to file."""
    warm_up(folder)
    began, wall = cpu(), time.perf_counter()
    asyncio.run(engine().arun(config(folder)))
    spent, wall = cpu() - began, time.perf_counter() - wall
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_us": spent / rows * 1e6, "rows_per_s": rows / wall, "rss_mb": rss}


def measure_resume(folder: Path, rows: int) -> dict[str, float]:
    """A resume of the finished scratch file, and `json.loads` of its lines."""
    warm_up(folder)
    scratch = folder / "scratch" / "out.jsonl"
    loads = cpu()
    with scratch.open("rb") as file:
        for line in file:
            json.loads(line)
    loads = cpu() - loads
    began = cpu()
    summary = asyncio.run(engine().arun(config(folder)))
    spent = cpu() - began
    assert summary.resumed == rows, summary
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"resume_us": spent / rows * 1e6, "loads_us": loads / rows * 1e6, "resume_rss_mb": rss}


def measure_aiohttp(requests: int = 3000) -> dict[str, float]:
    """CPU of one plain aiohttp request, the server in another process."""
    import aiohttp

    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())

    async def main() -> float:
        url, left = f"http://127.0.0.1:{port}/", iter(range(requests))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def worker() -> None:
                for i in left:
                    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION.format(i)}]}
                    async with session.post(url, json=body) as response:
                        await response.json()

            await worker_warm(session, url)
            began = cpu()
            await asyncio.gather(*(worker() for _ in range(100)))
            return (cpu() - began) / requests * 1e6

    async def worker_warm(session: aiohttp.ClientSession, url: str) -> None:
        async with session.post(url, json={}) as response:
            await response.json()

    try:
        return {"request_us": asyncio.run(main())}
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def serve() -> None:
    from aiohttp import web

    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]})

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=body, content_type="application/json")

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def in_child(*args: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *args], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_size(rows: int, rounds: int, smallest: int) -> dict[str, float]:
    """The medians of several rounds at one size; each has its own request and its own run of the smallest
    size, as the machine is never equally fast for long.
    """
    samples: list[dict[str, float]] = []
    for _ in range(rounds):
        request = in_child("--measure", "aiohttp", ".", "0")
        with job(smallest) as folder:
            smallest_us = in_child("--measure", "run", str(folder), str(smallest))["cpu_us"]
        with job(rows) as folder:
            ran = in_child("--measure", "run", str(folder), str(rows))
            keep_scratch(folder, rows)
            resumed = in_child("--measure", "resume", str(folder), str(rows))
        ratios = {
            "row_per_request": ran["cpu_us"] / request["request_us"],
            "row_per_smallest": ran["cpu_us"] / smallest_us,
            "resume_per_loads": resumed["resume_us"] / resumed["loads_us"],
        }
        samples.append({**request, **ran, **resumed, **ratios})
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


@contextmanager
def job(rows: int) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="run_overhead_"))
    try:
        write_input(folder / "in.jsonl", rows)
        yield folder
    finally:
        shutil.rmtree(folder)


def keep_scratch(folder: Path, rows: int) -> None:
    """Make the finished scratch file, without an output, that a kill just before the end leaves behind."""
    (folder / "out.jsonl").unlink()
    command = [sys.executable, __file__, "--measure", "finish", str(folder), str(rows)]
    subprocess.run(command, check=True, capture_output=True)


def finish_without_output(folder: Path, rows: int) -> dict[str, float]:
    from asyncinfer.run.run import Run

    async def die(*_: Any) -> None:
        os._exit(0)

    setattr(Run, "_write_output", die)  # noqa: B010
    asyncio.run(engine().arun(config(folder)))
    return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--measure", nargs=3)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    if args.measure:
        what, folder, rows = args.measure[0], Path(args.measure[1]), int(args.measure[2])
        measures = {"run": measure_run, "resume": measure_resume, "finish": finish_without_output}
        print(json.dumps(measure_aiohttp() if what == "aiohttp" else measures[what](folder, rows)))
        return
    results: dict[int, dict[str, float]] = {}
    print(
        f"{'rows':>9} {'cpu/row':>10} {'/request':>9} {'/smallest':>10} {'rows/s':>8} {'RSS MB':>7} {'resume/loads':>13} {'RSS MB':>7}"
    )
    for rows in args.rows:
        got = results[rows] = measure_size(rows, args.rounds, min(args.rows))
        print(
            f"{rows:>9} {got['cpu_us']:>7.1f} us {got['row_per_request']:>9.2f} {got['row_per_smallest']:>10.2f} "
            f"{got['rows_per_s']:>8.0f} {got['rss_mb']:>7.0f} {got['resume_per_loads']:>13.2f} {got['resume_rss_mb']:>7.0f}",
            flush=True,
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "run_overhead.json").write_text(json.dumps(results, indent=2))
    plot(results, args.out / "run_overhead.png")


def plot(results: dict[int, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    sizes = list(results)
    left.plot(sizes, [r["row_per_request"] for r in results.values()], marker="o", label="a row")
    left.axhline(0.25, linestyle="--", color="gray", label="wanted")
    left.set(xscale="log", xlabel="rows", ylabel="CPU, in plain aiohttp requests", ylim=(0, None))
    left.legend()
    right.plot(sizes, [r["rss_mb"] for r in results.values()], marker="o", label="run")
    right.plot(sizes, [r["resume_rss_mb"] for r in results.values()], marker="o", label="resume")
    right.axhline(250, linestyle="--", color="gray", label="wanted at 1M")
    right.set(xscale="log", xlabel="rows", ylabel="peak RSS, MB", ylim=(0, None))
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
