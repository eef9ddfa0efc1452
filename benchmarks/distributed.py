"""What replicas on Ray bring and cost: rows a second against their number, the CPU of the driver per row, and Ray Data's
`map_batches` on the same work.

The engine sleeps, so that the cores of this machine do not matter: each replica answers `--slots` rows at once, and a row
takes `--seconds`. `asyncinfer` reads a file, saves each row and writes a file; Ray Data writes Parquet, and saves nothing
in between.

    python benchmarks/distributed.py [--replicas 1 2 4 8] [--slots 16] [--seconds 1.0] [--rows 40] [--out benchmarks/results]

`--rows` is the number of rows for each slot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from distributed_engine import SleepingEngine, sleeping_model  # noqa: E402
from plots import plot_ratios  # noqa: E402

from asyncinfer import (  # noqa: E402
    DistributedInferenceEngine,
    DistributedParams,
    InferenceConfig,
    ReplicaResources,
    RowFinished,
    RunEvent,
)


class Work(NamedTuple):
    """The work of one measurement: replicas, rows at once in each, seconds for a row, and rows."""

    replicas: int
    slots: int
    seconds: float
    rows: int

    @property
    def ideal(self) -> float:
        """Rows a second if nothing but the sleep took time."""
        return self.replicas * self.slots / self.seconds


class Result(NamedTuple):
    """What was measured.

    Args:
        rate: Rows a second, from the start of the run to its end.
        steady: Rows a second, from the first saved answer to the last.
        cpu: The CPU time of the driver for each row, in seconds.
    """

    rate: float
    steady: float
    cpu: float


def write_rows(path: Path, rows: int) -> None:
    text = "x" * 400
    lines = (json.dumps({"messages": [{"role": "user", "content": f"{i} {text}"}]}) for i in range(rows))
    path.write_text("".join(line + "\n" for line in lines))


async def with_replicas(work: Work, folder: Path) -> Result:
    """Answer a file with a `DistributedInferenceEngine`. The replicas run before the time is taken."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    write_rows(source, work.rows)
    each = ReplicaResources(num_cpus=0, num_gpus=0)
    params = DistributedParams(num_replicas=work.replicas, resources_per_replica=each)
    finished: list[float] = []

    def note(event: RunEvent) -> None:
        if isinstance(event, RowFinished):
            finished.append(time.perf_counter())

    engine = DistributedInferenceEngine(SleepingEngine(sleeping_model(work.slots, work.seconds)), params)
    async with engine:
        await until_all_run(engine, work)
        cpu, began = time.process_time(), time.perf_counter()
        job = InferenceConfig(input_path=str(source), output_path=str(target))
        summary = await engine.arun(job, observers=[note])
        took, used = time.perf_counter() - began, time.process_time() - cpu
    assert summary.completed == work.rows
    target.unlink()
    return Result(work.rows / took, steady_rate(finished, work.seconds), used / work.rows)


async def until_all_run(engine: DistributedInferenceEngine, work: Work) -> None:
    """Answer rows until all replicas have answered one."""
    seen: set[int] = set()
    while len(seen) < work.replicas:
        rows = [f"warm up {n}" for n in range(2 * work.replicas * work.slots)]
        seen |= {answer.metadata["pid"] for answer in await engine.ainfer(rows)}


class SleepingStage:
    """The same work for Ray Data: an async stage that sleeps for each row, with `slots` rows at once."""

    def __init__(self, slots: int, seconds: float) -> None:
        self._slots, self._seconds = asyncio.Semaphore(slots), seconds

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        count = len(batch["messages"])
        finished = await asyncio.gather(*(self._answer() for _ in range(count)))
        yield {**batch, "answer": ["answer"] * count, "at": finished}

    async def _answer(self) -> float:
        async with self._slots:
            await asyncio.sleep(self._seconds)
            return time.time()


def with_ray_data(work: Work, folder: Path) -> float:
    """Answer as many rows with Ray Data. Returns rows a second, between the first and the last answer."""
    parquet: Any = import_module("pyarrow.parquet")
    import ray.data

    target = folder / "ray_data"
    shutil.rmtree(target, ignore_errors=True)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"messages": f"{i} {'x' * 400}"} for i in range(work.rows)]
    stage = ray.data.from_items(rows, override_num_blocks=work.rows // work.slots).map_batches(
        SleepingStage,
        fn_constructor_args=[work.slots, work.seconds],
        compute=ray.data.ActorPoolStrategy(size=work.replicas),
        num_cpus=0,
        batch_size=work.slots,
    )
    stage.write_parquet(str(target))
    finished: list[float] = parquet.read_table(target)["at"].to_pylist()
    assert len(finished) == work.rows
    return steady_rate(finished, work.seconds)


def steady_rate(finished: list[float], seconds: float) -> float:
    """Rows a second from the first answer on, without the rows that finish together with it. So the start of processes,
    which takes longer than the work, does not count.
    """
    finished.sort()
    later = sum(at > finished[0] + seconds / 2 for at in finished)
    return later / (finished[-1] - finished[0])


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, address="local", num_cpus=4)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for replicas in arguments.replicas:
            rows = replicas * arguments.slots * arguments.rows
            work = Work(replicas, arguments.slots, arguments.seconds, rows)
            ours = asyncio.run(with_replicas(work, Path(name)))
            row: dict[str, Any] = {"replicas": replicas, "rows": rows, "ideal": work.ideal, **ours._asdict()}
            if arguments.ray_data:
                row["ray_data"] = with_ray_data(work, Path(name))
            print(json.dumps(row), flush=True)
            found.append(row)
    ray.shutdown()
    return found


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| replicas | rows/s | of linear | driver CPU per row | Ray Data rows/s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        data = row.get("ray_data")
        compared = f"{data:.0f} | {row['steady'] / data:.2f}" if data else "- | -"
        lines.append(
            f"| {row['replicas']} | {row['rate']:.0f} | {row['rate'] / row['ideal']:.2f} | "
            f"{row['cpu'] * 1e6:.0f} us | {compared} |"
        )
    return "\n".join(lines)


def ratios(found: list[dict[str, Any]]) -> dict[str, float]:
    """The rows a second of each number of replicas, against linear growth and against Ray Data."""
    named: dict[str, float] = {}
    for row in found:
        named[f"{row['replicas']} of linear"] = row["rate"] / row["ideal"]
        if "ray_data" in row:
            named[f"{row['replicas']} to Ray Data"] = row["steady"] / row["ray_data"]
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--no-ray-data", dest="ray_data", action="store_false")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    found = measure(arguments)
    print(table(found))
    (arguments.out / "distributed.json").write_text(json.dumps(found, indent=1) + "\n")
    plot_ratios(ratios(found), "rows a second, by number of replicas", arguments.out / "distributed.png")


if __name__ == "__main__":
    sys.exit(main())
