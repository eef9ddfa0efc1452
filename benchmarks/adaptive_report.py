"""The table of `adaptive.py`, and its results as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaptive_cases import ADAPTIVE, FIXED, Case
from adaptive_measure import Result, Results, met, ratio

_HEAD = f"{'case':<36} {'client':<10} {'used':>6} {'refused':>8} {'failed':>7} {'rows/s':>7} {'ratio':>6} {'time':>7} {'lost':>10}"


def line(case: Case, client: str, result: Result) -> str:
    lost = "crashed" if result.error else "not ended" if result.lost is None else f"{result.lost}"
    seconds = "" if result.seconds is None else f"{result.seconds:.1f} s"
    return (
        f"{case.name:<36} {client:<10} {result.used:>6.1%} {result.refused:>8.1%} {result.failed:>7} "
        f"{result.rows_per_second:>7.1f} {{ratio:>6}} {seconds:>7} {lost:>10}"
    )


def table(cases: Sequence[Case], results: Results) -> str:
    """One line for each client and case; what is wanted, and whether it was reached, with the adaptive client."""
    lines: list[str] = []
    for group in dict.fromkeys(case.group for case in cases):
        lines += ["", group.upper(), f"{_HEAD}  wanted"]
        for case in (case for case in cases if case.group == group):
            lines += _case(case, results[case.name])
    reached = sum(met(case, results[case.name]) for case in cases)
    lost = sum(results[case.name][FIXED].lost or 0 for case in cases)
    lines += ["", f"{reached} of {len(cases)} cases are as wanted. Fixed concurrency lost {lost} rows."]
    return "\n".join(lines)


def _case(case: Case, results: dict[str, Result]) -> list[str]:
    lines: list[str] = []
    for client, result in results.items():
        adaptive = client == ADAPTIVE
        shown = f"{ratio(results):.2f}" if adaptive and case.wanted.ratio is not None else ""
        verdict = f"  {case.wanted}: {'yes' if met(case, results) else 'NO'}" if adaptive else ""
        lines.append(line(case, client, result).format(ratio=shown) + verdict)
    return lines


def save(cases: Sequence[Case], results: Results, load: Sequence[float], path: Path) -> None:
    """Write the results as JSON. `load`: the load averages of the machine before and after the run."""
    found: dict[str, Any] = {}
    for case in cases:
        by_client = results[case.name]
        found[case.name] = {
            "group": case.group,
            "seconds": case.seconds,
            "workers": case.workers,
            "wanted": asdict(case.wanted),
            "met": met(case, by_client),
            "clients": {client: result.brief() for client, result in by_client.items()},
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": len(os.sched_getaffinity(0)), "load_before_and_after": load}
    path.write_text(json.dumps({"machine": machine, "cases": found}, indent=2) + "\n")
