"""NATIVE samples only with `use_sampling`, and names the settings that have no effect without it. Needs no model."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import GenerationParams, InferenceConfig, ModelParams, NativeTextInferenceEngine
from asyncinfer.engines.local.transformers import engine as engine_module
from asyncinfer.engines.local.transformers import load as load_module
from asyncinfer.engines.local.transformers.row import settings_of
from asyncinfer.engines.local.transformers.sampling import sampling_in_effect, unused_without_sampling


@pytest.mark.parametrize(
    ("given", "temperature"),
    [
        ({"temperature": 0.7}, 0.0),
        ({"temperature": None}, 0.0),
        ({"use_sampling": True, "temperature": 0.7}, 0.7),
        ({"use_sampling": True}, 1.0),
        ({"use_sampling": True, "temperature": None}, 1.0),
    ],
)
def test_only_use_sampling_decides(given: dict[str, Any], temperature: float) -> None:
    assert settings_of(sampling_in_effect(GenerationParams(**given))).temperature == temperature


def test_settings_without_effect_are_named() -> None:
    assert unused_without_sampling(GenerationParams(temperature=0.7, top_p=0.9)) == {"temperature", "top_p"}
    assert unused_without_sampling(GenerationParams(temperature=0.0)) == frozenset()
    assert unused_without_sampling(GenerationParams(temperature=0.7, use_sampling=True)) == frozenset()


async def test_engine_warns_of_a_temperature_without_sampling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (engine_module, load_module):
        monkeypatch.setattr(module, "find_spec", lambda _: True)
    engine = NativeTextInferenceEngine(ModelParams("owner/model"))
    access, _ = await engine._setup_for(InferenceConfig(generation=GenerationParams(temperature=0.7)))
    assert access.dropped == ("temperature",)
    assert "generation.temperature: no effect on NATIVE without generation.use_sampling: true" in caplog.text
