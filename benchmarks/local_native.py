"""The Transformers section: `NativeTextInferenceEngine` against the bare `model.generate`, greedily, on one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from local_measure import Options, Section, compare, compare_alone, measure_loading, ours_at_once, prompt, question

from asyncinfer import Conversation, GenerationParams, ModelParams, NativeTextInferenceEngine
from asyncinfer.engines.local.transformers.load import LoadedModel, load

ROWS = 32


async def measure(options: Options) -> Section:
    torch: Any = import_module("torch")
    torch.set_num_threads(options.threads)
    facts = {"model": options.model, "threads": options.threads, "tokens a row": options.tokens}
    section = Section("Transformers", {**facts, "batch_size": ROWS})
    params = ModelParams(model_name=options.model)
    async with NativeTextInferenceEngine(params, generation_params=GenerationParams(batch_size=ROWS)) as engine:
        await measure_loading(section, engine)
        await all_comparisons(section, engine, await asyncio.to_thread(load, params), options)
    return section


async def all_comparisons(
    section: Section, engine: NativeTextInferenceEngine, bare: LoadedModel, options: Options
) -> None:
    tokens, rounds = options.tokens, range(options.rounds)
    many = [question(f"{prompt(n)} Answer as number {n}.") for n in range(ROWS)]

    async def theirs(rows: list[Conversation]) -> float:
        return await asyncio.to_thread(generate, bare, rows, tokens)

    async def theirs_in_turn(_: int) -> float:
        # A few speak for all: one at a time takes minutes.
        return sum([await theirs([row]) for row in many[:4]]) / 4

    async def all_at_once(_: int) -> float:
        return await ours_at_once(engine, many, tokens)

    await theirs(many[:1])
    await compare_alone(section, engine, theirs, options, options.rounds)
    await compare(section, f"{ROWS} rows (theirs: one batch)", 0.95, rounds, lambda _: theirs(many), all_at_once)
    await compare(section, f"{ROWS} rows (theirs: one at a time)", 5.0, rounds, theirs_in_turn, all_at_once)


def generate(bare: LoadedModel, rows: Sequence[Conversation], tokens: int) -> float:
    """Tokens per second of `model.generate` on all rows in one batch, the tokenizer's part included."""
    begun = time.perf_counter()
    tokenizer = bare.tokenizer
    texts = [
        tokenizer.apply_chat_template(row.to_dict()["messages"], tokenize=False, add_generation_prompt=True)
        for row in rows
    ]
    tokenizer.padding_side = "left"
    prompt = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(bare.model.device)
    ids = bare.model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
    said = ids[:, prompt["input_ids"].shape[1] :]
    tokenizer.batch_decode(said, skip_special_tokens=True)
    count = int((said != tokenizer.eos_token_id).sum())
    return count / (time.perf_counter() - begun)
