"""The engine of `asyncinfer ask` without `-e`."""

from __future__ import annotations

import pytest

from asyncinfer import ConfigError
from asyncinfer.cli.model_engine import engine_for_model
from asyncinfer.providers import Provider
from asyncinfer.providers.catalog import CATALOG


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt-oss-20b", "give -e ENGINE"),
        ("my-model", r"claude- \(ANTHROPIC\)"),
        ("my-model", "--api-url"),
        ("openai/gpt-oss-20b", "-e NATIVE or -e VLLM .* -e OPENROUTER"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "-e NATIVE or -e VLLM"),
        ("./models/none", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("", "give -e ENGINE"),
    ],
)
def test_error_for_an_unclear_model_says_which_options_help(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engine_for_model(model)


def test_model_of_several_providers_needs_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, "MINE", Provider("MINE", "https://h/v1/chat/completions", model_prefixes=("gemini-",)))
    with pytest.raises(ConfigError, match="'gemini-x' does not say .*: give one of -e GOOGLE_GEMINI, -e MINE"):
        engine_for_model("gemini-x")


def test_clear_model_has_its_engine() -> None:
    assert engine_for_model("gpt-5-mini") == "OPENAI"
