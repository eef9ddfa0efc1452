"""The vLLM section: `VLLMInferenceEngine` against the bare `vllm.LLM`, greedily, on one folder of weights.

`LLM` is measured both ways: with its engine core in the process that calls it, as the engine has it, and in a
process of its own, which is its default.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any, NamedTuple

from local_measure import (
    Options,
    Section,
    at_random_times,
    compare,
    compare_alone,
    load,
    measure_loading,
    ours_at_once,
    prompt,
    question,
)

from asyncinfer import Conversation, ModelParams
from asyncinfer.engines.local.vllm.engine import VLLMInferenceEngine
from asyncinfer.engines.local.vllm.process import default_threads

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
    section = Section("vLLM", {"model": options.model, "tokens a row": options.tokens, "rows at once": ROWS})
    section.facts["threads"] = default_threads()
    async with an_engine(options) as engine:
        await measure_loading(section, engine)
        await at_random_times(section, engine, many, options)
    for processes, place in ((1, "here"), (2, "in a process of its own")):
        for turn in range(options.rounds):
            await against_the_bare(section, options, processes, place, turn)
    return section


async def against_the_bare(section: Section, options: Options, processes: int, place: str, turn: int) -> None:
    """Load both anew, now the one first, now the other: a model is some percent faster or slower by where in memory its
    weights happen to lie.
    """
    async with an_engine(options) as engine, AsyncExitStack() as stack:
        if not turn % 2:
            await load(engine)
        bare = await stack.enter_async_context(a_bare(options, processes, default_threads()))
        if turn % 2:
            await load(engine)

        async def theirs(rows: list[Conversation]) -> float:
            return await bare.at_once(rows, options.tokens)

        async def their_rows(day: int) -> float:
            return await theirs(many(day))

        async def our_rows(day: int) -> float:
            return await ours_at_once(engine, many(day), options.tokens)

        await bare.at_once([question(prompt(0))], 2)
        await compare_alone(section, engine, theirs, options, 1, f" (LLM: {place})")
        await compare(section, f"{ROWS} rows (LLM: {place})", 0.97, [turn], their_rows, our_rows)


def an_engine(options: Options) -> VLLMInferenceEngine:
    return VLLMInferenceEngine(ModelParams(model_name=options.model, model_max_length=CONTEXT, model_kwargs=SIZES))


@asynccontextmanager
async def a_bare(options: Options, processes: int, threads: int) -> AsyncGenerator[Bare]:
    # Always the same thread, as each has its own idea of how many torch may use.
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.get_running_loop()
        llm = await loop.run_in_executor(thread, load_bare, options.model, processes, threads)
        try:
            yield Bare(llm, thread)
        finally:
            llm.llm_engine.engine_core.shutdown()


def many(day: int) -> list[Conversation]:
    """Rows that no round has seen before."""
    return [question(f"On day {day}, as number {n}: {prompt(n)}") for n in range(ROWS)]


def theirs_at_once(bare: Any, rows: Sequence[Conversation], tokens: int) -> float:
    params: Any = import_module("vllm").SamplingParams(temperature=0.0, max_tokens=tokens)
    asked = [[{"role": "user", "content": row.messages[0].content}] for row in rows]
    begun = time.perf_counter()
    done = bare.chat(asked, params, use_tqdm=False)
    return sum(len(one.outputs[0].token_ids) for one in done) / (time.perf_counter() - begun)


def load_bare(model: str, processes: int, threads: int) -> Any:
    import_module("torch").set_num_threads(threads)
    os.environ[MULTIPROCESSING] = str(processes - 1)
    try:
        return import_module("vllm").LLM(model, dtype="float32", max_model_len=CONTEXT, enforce_eager=True, **SIZES)
    finally:
        del os.environ[MULTIPROCESSING]
