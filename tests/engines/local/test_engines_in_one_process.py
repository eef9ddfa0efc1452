"""All three local engines work in one process at the same time, each with its own OpenMP runtime and threads."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from asyncinfer import (
    BaseInferenceEngine,
    LlamaCppInferenceEngine,
    ModelParams,
    NativeTextInferenceEngine,
    VLLMInferenceEngine,
)
from tests.asking import config, said
from tests.fakes import question
from tests.smollm2 import ONE_THREAD, PACKAGED, Smollm2

if not all(map(find_spec, ("vllm", "transformers", "llama_cpp"))):
    pytest.skip("needs the extra heavy", allow_module_level=True)

# torch and vLLM give deprecation warnings while they load.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

QUESTIONS = [question(text) for text in ("What is the capital of France?", "Name three colours.", "Hi", "Who are you?")]
# The structure determines the answers, because kernels may round differently while other models run.
CHOICE = "The capital of France is Paris."
SETTINGS = config(guided_decoding={"choice": [CHOICE]})
Engines = dict[str, BaseInferenceEngine]


@pytest.fixture
async def engines(smollm2: Smollm2) -> AsyncIterator[Engines]:
    small = {"kv_cache_memory_bytes": 256 * 2**20, "max_num_seqs": 16}
    model = {"model_name": str(smollm2.model), "model_max_length": 1024}
    made: Engines = {
        "llama.cpp": LlamaCppInferenceEngine(
            ModelParams(model_name=PACKAGED, model_max_length=1024, model_kwargs=ONE_THREAD)
        ),
        "Transformers": NativeTextInferenceEngine(ModelParams.model_validate(model)),
        "vLLM": VLLMInferenceEngine(ModelParams.model_validate({**model, "model_kwargs": small})),
    }
    yield made
    for engine in made.values():
        await engine.aclose()


async def answers(engine: BaseInferenceEngine) -> list[str]:
    return [said(answered) for answered in await engine.ainfer(QUESTIONS, SETTINGS)]


async def at_once(engines: Engines) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}

    async def ask(name: str) -> None:
        found[name] = await answers(engines[name])

    async with anyio.create_task_group() as tasks:
        for name in engines:
            tasks.start_soon(ask, name)
    return found


async def test_engines_at_once_answer_as_alone_also_after_reopening(engines: Engines) -> None:
    first_answers = await at_once(engines)
    assert first_answers == {name: await answers(engine) for name, engine in engines.items()}
    for name in engines:
        # One engine is closed and opened again while the others stay open.
        await engines[name].aclose()
        assert await at_once(engines) == first_answers


async def test_cancelling_one_engine_does_not_disturb_the_others(engines: Engines) -> None:
    alone = await at_once(engines)
    for name in engines:
        others = {other: engine for other, engine in engines.items() if other != name}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engines[name].ainfer, QUESTIONS, config(max_new_tokens=500))
            async with engines[name].astream(QUESTIONS[1], config(max_new_tokens=500)) as stream:
                await anext(stream)
            assert await at_once(others) == {other: alone[other] for other in others}
            tasks.cancel_scope.cancel()
    assert await at_once(engines) == alone


async def test_models_are_freed_on_close(engines: Engines) -> None:
    process = import_module("psutil").Process()
    await at_once(engines)
    threads = {thread.name for thread in threading.enumerate()}
    held = process.memory_info().rss
    gone = [weakref.ref(engine._thread) for engine in engines.values()]  # type: ignore[attr-defined]
    for engine in engines.values():
        await engine.aclose()
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    # Two times 540 MB of float32 weights. Pages of vLLM's cache that were never written do not count.
    assert held - process.memory_info().rss > 900 * 2**20
    assert threads - {thread.name for thread in threading.enumerate()}


THREADS = """
import os, sys, threading, torch
from asyncinfer import *

def threads():
    counts = []
    other = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    other.start()
    other.join()
    return torch.get_num_threads(), *counts, len(os.sched_getaffinity(0))

before = threads()
model = ModelParams(model_name=sys.argv[1], model_max_length=256, model_kwargs={"kv_cache_memory_bytes": 2**28})
engine = VLLMInferenceEngine(model)
row = Conversation(messages=[Message(role=Role.USER, content="hi")])
engine.infer([row], InferenceConfig(generation=GenerationParams(max_new_tokens=2)))
opened = threads()
engine.close()
print(before, opened, threads(), file=sys.stderr if before == opened == threads() else sys.stdout)
"""


def test_vllm_does_not_change_the_number_of_torch_threads(smollm2: Smollm2) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS, str(smollm2.model)],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
