"""The llama.cpp section: `LlamaCppInferenceEngine` against the bare `llama_cpp.Llama`, greedily, on one file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

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
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.compat import llama_class
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.engines.local.llama_cpp.options import DEFAULT_PARALLEL

CONTEXT = 2048
ROWS = 16
SHARED = "You are a patient guide who knows the town, its harbour, its people and their work, and answers kindly. " * 24


async def measure(options: Options) -> Section:
    facts = {"model": options.model, "threads": options.threads, "tokens a row": options.tokens}
    section = Section("llama.cpp", {**facts, "rows at once": DEFAULT_PARALLEL})
    threads = {"n_threads": options.threads, "n_threads_batch": options.threads}
    params = ModelParams(model_name=options.model, model_max_length=CONTEXT, model_kwargs=threads)
    async with LlamaCppInferenceEngine(params) as engine:
        await measure_loading(section, engine)
        bare = await asyncio.to_thread(load_bare, options.model, threads)
        await asyncio.to_thread(theirs_in_turn, bare, [question(prompt(0))], 2)
        await all_comparisons(section, engine, bare, options)
    async with LlamaCppInferenceEngine(
        params.model_copy(update={"model_kwargs": {**threads, "kv_unified": True}})
    ) as engine:
        await load(engine)
        await shared_prompt(section, engine, bare, options, ", kv_unified")
    bare.close()
    return section


async def all_comparisons(section: Section, engine: LlamaCppInferenceEngine, bare: Any, options: Options) -> None:
    def arriving(turn: int) -> list[Conversation]:
        return [question(f"{prompt(n)} This is question {n} of day {turn}.") for n in range(2 * ROWS)]

    async def theirs(rows: list[Conversation]) -> float:
        return await asyncio.to_thread(theirs_in_turn, bare, rows, options.tokens)

    await compare_alone(section, engine, theirs, options, options.rounds)
    await shared_prompt(section, engine, bare, options)
    await at_random_times(section, engine, arriving, options)


async def shared_prompt(
    section: Section, engine: LlamaCppInferenceEngine, bare: Any, options: Options, how: str = ""
) -> None:
    def rows(turn: int) -> list[Conversation]:
        # No round may find the prefix of the one before.
        system = f"Day {turn}{how}. {SHARED}"
        return [question(f"{prompt(n)} Answer as number {n}.", system) for n in range(ROWS)]

    async def theirs(turn: int) -> float:
        return await asyncio.to_thread(theirs_in_turn, bare, rows(turn), options.tokens)

    async def ours(turn: int) -> float:
        return await ours_at_once(engine, rows(turn), options.tokens)

    await compare(section, f"{ROWS} rows, shared system prompt{how}", 1.5, range(options.rounds), theirs, ours)


def theirs_in_turn(bare: Any, rows: Sequence[Conversation], tokens: int) -> float:
    begun, count = time.perf_counter(), 0
    for row in rows:
        messages = [{"role": message.role.value, "content": message.content} for message in row.messages]
        done = bare.create_chat_completion(messages, temperature=0.0, max_tokens=tokens)
        count += done["usage"]["completion_tokens"]
    return count / (time.perf_counter() - begun)


def load_bare(model: str, threads: dict[str, int]) -> Any:
    return llama_class()(str(find_local(model)), n_ctx=CONTEXT, verbose=False, **threads)
