"""How much of a server's capacity a client uses whom nobody tells the capacity, and how much the server refuses.

Every case is a local server with a limit, noise or an outage, and a job. asyncinfer with its defaults runs at the same
time as asyncinfer with fixed concurrency, each against a server of its own; in some cases also lm-deluge or the openai
SDK, if they are installed. The server counts, from the first request on, for the case's time. The rows that are left
then are still answered, so that each client shows what it lost.

    python benchmarks/adaptive.py [--quick] [--cases REGEX] [--out FOLDER] [--list]

Prints a table, and writes `adaptive.json`, `adaptive.png` (all cases against what is wanted) and
`adaptive_courses.png` (permits and pace over time). Takes about 15 minutes on two cores; with `--quick`, with shorter
jobs, windows and outages, 4 minutes. The results of a quick or a partial run are written only if `--out` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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

    results = asyncio.run(measure_all(chosen, flags, done))
    print(table(chosen, results))
    if out is not None:
        from adaptive_plot import plot_courses, plot_overview

        save(chosen, results, out / "adaptive.json")
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
