"""Measures how much of the unknown capacity of several servers one run uses, and what a dying server costs.

Four local servers accept 20, 40, 80 and 160 requests per second, and refuse all others (429). Each is a process of its
own. asyncinfer knows only their URLs. In the second case, the third server refuses connections for a while.

    python benchmarks/endpoints.py [--quick] [--out FOLDER]

Prints a table, and writes `endpoints.json` and `endpoints.png`. Takes about two minutes. The servers count during the case's time, which
begins with the first request. The job has a few more rows than the servers can take in that time, and runs to its end,
which shows the lost rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adaptive_cases import Case, Outage
from adaptive_limits import Bucket
from plots import plot_ratios

from asyncinfer import EndpointParams, ModelParams, RemoteInferenceEngine, RemoteParams, RowFinished, RunEvent

RESULTS = Path(__file__).parent / "results"
RATES = (20, 40, 80, 160)
DYING = 2  # The place of the server that dies.
STEADY, DIES = "steady", "one dies and comes back"
WANTED_SHARE, WANTED_SECONDS = 0.92, 30.0


@dataclass
class Result:
    """What happened in one case.

    Args:
        used: The share of the capacity of all servers that was used.
        shares: The same for each server.
        refused: The share of the requests that were refused.
        lost: The number of rows without an answer.
        back_after: The seconds from the end of the outage to the first answer of that server.
        cpu_per_row: The CPU time of the client for each row, in microseconds.
    """

    case: str
    used: float
    shares: list[float]
    refused: float
    rows: int
    lost: int
    seconds: float
    back_after: float | None
    cpu_per_row: float

    @property
    def is_met(self) -> bool:
        is_back = self.case == STEADY or (self.back_after is not None and self.back_after <= WANTED_SECONDS)
        return self.used >= WANTED_SHARE and not self.lost and is_back


def servers_of(name: str, quick: bool) -> list[Case]:
    seconds = (10.0 if quick else 30.0) if name == STEADY else (30.0 if quick else 60.0)
    outage = Outage("refused", seconds / 4, seconds / 3)

    def server(place: int) -> Case:
        limit = partial(Bucket, phases=[(seconds, float(RATES[place]))])
        dies = name == DIES and place == DYING
        return Case(f"{name} {place}", "endpoints", seconds, limit, outage=outage if dies else None)

    return [server(place) for place in range(len(RATES))]


@asynccontextmanager
async def serving(name: str, place: int, flags: Sequence[str]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """The URL of a server in a process of its own, and its statistics, which are there once it has ended."""
    pipe = asyncio.subprocess.PIPE
    arguments = (__file__, "--serve", name, str(place), *flags)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    stats: dict[str, Any] = {}
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1", stats
        output, _ = await process.communicate(b"")
        stats.update(json.loads(output))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def measure(name: str, flags: Sequence[str]) -> Result:
    servers = servers_of(name, bool(flags))
    rows = sum(server.rows for server in servers)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(serving(name, place, flags)) for place in range(len(servers))]
        urls = [url for url, _ in running]
        began, cpu = time.monotonic(), time.process_time()
        answered, answers = await run(urls, rows)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    stats = [counts for _, counts in running]
    capacities = [server.capacity for server in servers]
    sent = sum(sum(counts["admitted"]) + sum(counts["refused"]) for counts in stats)
    return Result(
        name,
        sum(counts["used"] for counts in stats) / sum(capacities),
        [counts["used"] / capacity for counts, capacity in zip(stats, capacities, strict=True)],
        sum(sum(counts["refused"]) for counts in stats) / sent,
        rows,
        rows - answered,
        seconds,
        back_after(servers[DYING], stats[DYING]["began"], answers.get(urls[DYING], [])),
        cpu / rows * 1e6,
    )


async def run(urls: Sequence[str], rows: int) -> tuple[int, dict[str, list[float]]]:
    """Answer `rows` rows. Returns how many were answered, and when each endpoint answered."""
    answers: dict[str, list[float]] = {}

    def observe(event: RunEvent) -> None:
        if isinstance(event, RowFinished) and event.endpoint is not None:
            answers.setdefault(event.endpoint, []).append(time.monotonic())

    remote = RemoteParams(endpoints=[EndpointParams(api_url=url) for url in urls], num_workers=100)
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        result = await engine.ainfer_partial([f"Question {row}?" for row in range(rows)], observers=[observe])
    return len(result.successful), answers


def back_after(server: Case, began: float, answers: Sequence[float]) -> float | None:
    """Seconds from the end of the outage to the next answer; None without an outage or such an answer."""
    if server.outage is None:
        return None
    end = began + server.outage.at + server.outage.seconds
    return next((at - end for at in answers if at >= end), None)


def table(results: Sequence[Result]) -> str:
    lines = [f"{'case':<26}{'used':>6}{'of each server':>26}{'refused':>9}{'lost':>6}{'back after':>12}{'CPU/row':>10}"]
    for result in results:
        shares = " ".join(f"{share:.2f}" for share in result.shares)
        back = f"{result.back_after:.1f} s" if result.back_after is not None else ""
        lines.append(
            f"{result.case:<26}{result.used:>6.3f}{shares:>26}{result.refused:>9.1%}{result.lost:>6}{back:>12}"
            f"{result.cpu_per_row:>7.0f} us" + ("" if result.is_met else "  not as wanted")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter cases, in which the start weighs more")
    parser.add_argument("--out", type=Path, help=f"where to write the results; by default {RESULTS}")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "PLACE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        from adaptive_server import serve

        name, place = args.serve
        serve(servers_of(name, args.quick)[int(place)])
        return
    load_before = os.getloadavg()[0]
    flags = ["--quick"] if args.quick else []
    results = [asyncio.run(measure(name, flags)) for name in (STEADY, DIES)]
    print(table(results))
    load = [load_before, os.getloadavg()[0]]
    print(f"Load of the machine before and after: {load[0]:.1f} and {load[1]:.1f}.")
    out = args.out or (None if args.quick else RESULTS)
    if out is not None:
        data = {"rates": RATES, "load": load, "results": [{**asdict(r), "as_wanted": r.is_met} for r in results]}
        (out / "endpoints.json").write_text(json.dumps(data, indent=1) + "\n")
        used = {result.case: result.used for result in results}
        plot_ratios(used, "share of the servers' capacity", out / "endpoints.png", wanted=0.92)


if __name__ == "__main__":
    main()
