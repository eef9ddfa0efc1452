"""Measures how much of a server's unknown capacity asyncinfer uses, and how many requests are refused or lost.

Every case is a local server with a limit, random failures or an outage, and a job. asyncinfer with its defaults and
asyncinfer with fixed concurrency run at the same time, each against its own server. Some cases also run lm-deluge or
the openai SDK, if they are installed. The server counts during the case's time, which begins with the first request.
The job has a few more rows than the server can take in that time, and runs to its end, which shows the lost rows.

    python benchmarks/adaptive.py [--quick] [--cases REGEX] [--out FOLDER] [--list]

Prints a table, and writes `adaptive.json`, `adaptive.png` (all cases against what is wanted) and
`adaptive_courses.png` (permits and pace over time). Takes about 15 minutes on two cores. `--quick` takes 4: jobs,
windows, outages and answers are shorter, so that the start weighs more and fewer cases reach what is wanted. Quick and
partial runs write their results only if `--out` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from adaptive_cases import QUICK, Case, Scale, cases
from adaptive_measure import Result, measure_all
from adaptive_report import line, save, table

RESULTS = Path(__file__).parent / "results"


def compare(chosen: Sequence[Case], flags: Sequence[str], out: Path | None) -> None:
    def done(case: Case, client: str, result: Result) -> None:
        print(line(case, client, result).format(ratio=""), file=sys.stderr, flush=True)
        for message, count in result.failures.items():
            print(f"    {count} rows: {message}", file=sys.stderr)
        if result.error:
            print(result.error, file=sys.stderr)

    load_before = os.getloadavg()[0]
    results = asyncio.run(measure_all(chosen, flags, done))
    load = [load_before, os.getloadavg()[0]]
    print(table(chosen, results))
    print(f"Load of the machine before and after: {load[0]:.1f} and {load[1]:.1f}.")
    if out is not None:
        from adaptive_plot import plot_courses, plot_overview

        save(chosen, results, load, out / "adaptive.json")
        plot_overview(chosen, results, out / "adaptive.png")
        plot_courses(chosen, results, out / "adaptive_courses.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter jobs, windows, outages and answers")
    parser.add_argument("--cases", default="", help="only cases whose name or group matches this regular expression")
    parser.add_argument("--out", type=Path, help=f"where to write the results; by default {RESULTS}")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--serve", metavar="CASE", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=3, metavar=("CLIENT", "CASE", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    every = {case.name: case for case in cases(QUICK if args.quick else Scale())}
    if args.serve:
        from adaptive_server import serve

        serve(every[args.serve])
    elif args.client:
        from adaptive_clients import run_client

        client, name, url = args.client
        print(json.dumps(asyncio.run(run_client(client, every[name], url))))
    else:
        wanted = re.compile(args.cases, re.IGNORECASE)
        chosen = [case for case in every.values() if wanted.search(case.name) or wanted.search(case.group)]
        if args.list:
            print("\n".join(f"{case.group}: {case.name} ({case.seconds:g} s; {case.wanted})" for case in chosen))
            return
        whole = not args.quick and not args.cases
        compare(chosen, ["--quick"] if args.quick else [], args.out or (RESULTS if whole else None))


if __name__ == "__main__":
    main()
