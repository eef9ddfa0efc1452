"""The vLLM section: `VLLMInferenceEngine` against the bare `vllm.LLM`, greedily, on one folder of weights.

`LLM` is measured both ways: with its engine core in the process that calls it, as the engine has it, and in a
process of its own, which is its default.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, NamedTuple

from local_measure import PROMPTS, Options, Section, at_random_times, compare, lag_of_the_loop, ours_at_once, question

from asyncinfer import Conversation, ModelParams
from asyncinfer.engines.vllm import VLLMInferenceEngine
from asyncinfer.engines.vllm_process import default_threads

CONTEXT = 1024
ROWS = 32
SIZES = {"kv_cache_memory_bytes": 512 * 2**20, "max_num_seqs": 64}
MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


class Bare(NamedTuple):
    """vLLM's own `LLM`, in a thread of its own."""

    llm: Any
    thread: ThreadPoolExecutor

    async def at_once(self, rows: Sequence[Conversation], tokens: int) -> float:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, theirs_at_once, self.llm, rows, tokens)


async def measure(options: Options) -> Section:
    section = Section("vllm", {"model": options.model, "tokens a row": options.tokens, "rows at once": ROWS})
    params = ModelParams(model_name=options.model, model_max_length=CONTEXT, model_kwargs=SIZES)
    async with VLLMInferenceEngine(params) as engine:
        async with lag_of_the_loop() as lag:
            await ours_at_once(engine, [question(PROMPTS[0])], 2)
        section.lags["loading"] = lag.worst
        section.facts["threads"] = default_threads()
        for processes, place in ((1, "here"), (2, "in a process of its own")):
            # Always the same thread, as each has its own idea of how many torch may use.
            with ThreadPoolExecutor(1) as thread:
                bare = thread.submit(load_bare, options.model, processes, section.facts["threads"]).result()
                await against_the_bare(section, engine, Bare(bare, thread), options, place)
                if processes == 2:
                    bare.llm_engine.engine_core.shutdown()
        await at_random_times(section, engine, lambda day: many(100 + day), options)
    return section


async def against_the_bare(
    section: Section, engine: VLLMInferenceEngine, bare: Bare, options: Options, place: str
) -> None:
    tokens, rounds = options.tokens, options.rounds

    async def their_one(turn: int) -> float:
        return await bare.at_once([question(PROMPTS[turn % 4])], tokens)

    async def our_one(turn: int) -> float:
        return await ours_at_once(engine, [question(PROMPTS[turn % 4])], tokens)

    async def their_rows(turn: int) -> float:
        return await bare.at_once(many(turn), tokens)

    async def our_rows(turn: int) -> float:
        return await ours_at_once(engine, many(turn), tokens)

    await bare.at_once([question(PROMPTS[0])], 2)
    await compare(section, f"one row alone (LLM: {place})", 0.97, rounds, their_one, our_one)
    await compare(section, f"{ROWS} rows (LLM: {place})", 0.97, rounds, their_rows, our_rows)


def many(day: int) -> list[Conversation]:
    """Rows that no round has seen before."""
    return [question(f"On day {day}, as number {n}: {PROMPTS[n % 4]}") for n in range(ROWS)]


def theirs_at_once(bare: Any, rows: Sequence[Conversation], tokens: int) -> float:
    params: Any = import_module("vllm").SamplingParams(temperature=0.0, max_tokens=tokens)
    asked = [[{"role": "user", "content": row.messages[0].content}] for row in rows]
    begun = time.perf_counter()
    done = bare.chat(asked, params, use_tqdm=False)
    return sum(len(one.outputs[0].token_ids) for one in done) / (time.perf_counter() - begun)


def load_bare(model: str, processes: int, threads: Any) -> Any:
    import_module("torch").set_num_threads(threads)
    os.environ[MULTIPROCESSING] = str(processes - 1)
    try:
        return import_module("vllm").LLM(model, dtype="float32", max_model_len=CONTEXT, enforce_eager=True, **SIZES)
    finally:
        del os.environ[MULTIPROCESSING]
