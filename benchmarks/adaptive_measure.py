"""Runs the cases of `adaptive.py`: each client and each server is a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adaptive_cases import ADAPTIVE, DELUGE, FIXED, OPENAI, Case

# Seconds in which a client that was stopped must report.
_GRACE = 10.0
_ENTRY = str(Path(__file__).with_name("adaptive.py"))
_MODULES = {DELUGE: "lm_deluge", OPENAI: "openai"}


@dataclass
class Result:
    """What one client did in one case. All but `lost` and `seconds` count the case's seconds only.

    `lost` and `seconds` are None if the client did not end in time; `error` is set if it crashed.
    """

    used: float
    refused: float
    failed: int
    rows_per_second: float
    rows: int
    lost: int | None
    seconds: float | None
    failures: dict[str, int]
    error: str | None = None
    began: float = 0.0
    admitted: list[int] = field(default_factory=list[int])
    course: list[tuple[float, float | None, float | None]] = field(
        default_factory=list[tuple[float, float | None, float | None]]
    )
    cuts: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def brief(self) -> dict[str, Any]:
        """Without the course over time."""
        return {
            name: value for name, value in vars(self).items() if name not in ("began", "admitted", "course", "cuts")
        }


Results = dict[str, dict[str, Result]]


def clients_of(case: Case) -> list[str]:
    """The clients of a case that are installed."""
    return [name for name in case.clients if name not in _MODULES or find_spec(_MODULES[name]) is not None]


def met(case: Case, results: dict[str, Result]) -> bool:
    """Whether the adaptive client reached what is wanted in this case, and lost no row."""
    got, wanted = results[ADAPTIVE], case.wanted
    return (
        got.lost == 0
        and (wanted.used is None or got.used >= wanted.used)
        and (wanted.refused is None or got.refused <= wanted.refused)
        and (wanted.ratio is None or ratio(results) >= wanted.ratio)
        and (wanted.seconds is None or (got.seconds is not None and got.seconds <= wanted.seconds))
    )


def ratio(results: dict[str, Result]) -> float:
    """Rows per second of the adaptive client, relative to fixed concurrency."""
    return results[ADAPTIVE].rows_per_second / max(results[FIXED].rows_per_second, 1e-9)


async def measure_all(
    cases: Sequence[Case], flags: Sequence[str], done: Callable[[Case, str, Result], None]
) -> Results:
    """Measure every case, several side by side as long as their loads fit in the CPU cores, the longest first."""
    cores = 0.8 * len(os.sched_getaffinity(0))
    waiting = sorted(cases, key=lambda case: case.seconds, reverse=True)
    running: dict[asyncio.Task[dict[str, Result]], Case] = {}
    results: Results = {}
    while waiting or running:
        for case in list(waiting):
            if not running or sum(map(_load, running.values())) + _load(case) <= cores:
                waiting.remove(case)
                running[asyncio.create_task(_measure_case(case, flags, done))] = case
        ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            results[running.pop(task).name] = task.result()
    return {case.name: results[case.name] for case in cases}


def _load(case: Case) -> float:
    """How many cores a case keeps busy. A case that times its start runs alone."""
    return 1e9 if case.wanted.seconds is not None else sum(case.load(client) for client in clients_of(case))


async def _measure_case(
    case: Case, flags: Sequence[str], done: Callable[[Case, str, Result], None]
) -> dict[str, Result]:
    """All clients side by side; one after the other where the start is timed."""

    async def measure(client: str) -> Result:
        result = await _measure(client, case, flags)
        done(case, client, result)
        return result

    names = clients_of(case)
    if case.wanted.seconds is not None:
        return {client: await measure(client) for client in names}
    return dict(zip(names, await asyncio.gather(*map(measure, names)), strict=True))


async def _measure(client: str, case: Case, flags: Sequence[str]) -> Result:
    async with _server(case, flags) as (url, stats):
        ended, error = await _run_client(client, case, url, flags)
    sent = stats["admitted"] + stats["refused"] + stats["failed"]
    return Result(
        used=stats["used"] / case.capacity,
        refused=sum(stats["refused"]) / max(1, sum(sent)),
        failed=sum(stats["failed"]),
        rows_per_second=stats["answered"] / case.seconds,
        rows=case.rows,
        lost=case.rows - ended["answered"] if ended.get("answered") is not None else None,
        seconds=ended.get("seconds"),
        failures=ended.get("failures", {}),
        error=error,
        began=stats["began"] or 0.0,
        admitted=stats["admitted"],
        course=ended.get("course", []),
        cuts=ended.get("cuts", []),
    )


@asynccontextmanager
async def _server(case: Case, flags: Sequence[str]) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """The URL of the case's server, and its statistics, which are there once the server has ended."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, _ENTRY, "--serve", case.name, *flags, stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    stats: dict[str, Any] = {}
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}", stats
        output, _ = await process.communicate(b"")  # closes its input
        stats.update(json.loads(output))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _run_client(client: str, case: Case, url: str, flags: Sequence[str]) -> tuple[dict[str, Any], str | None]:
    """What the client reported; empty if it was killed or crashed, with the end of its traceback."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, _ENTRY, "--client", client, case.name, url, *flags, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(case.patience + _GRACE):
            output, errors = await process.communicate()
    except TimeoutError:
        return {}, None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return {}, errors.decode()[-500:].strip()
    return json.loads(output.splitlines()[-1]), None
