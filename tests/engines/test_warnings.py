"""A warning about settings is logged once for each engine and cause."""

from __future__ import annotations

import logging

import pytest

from asyncinfer import GenerationParams, InferenceConfig, RemoteParams
from tests.fakes import FakeEngine


def unsupported() -> InferenceConfig:
    return InferenceConfig(generation=GenerationParams(num_beams=3))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_many_calls_with_an_unsupported_parameter_log_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    for _ in range(3):
        await engine.agenerate("a", unsupported())
        answers = await engine.ainfer(["a", "b"], unsupported())
        assert answers[0].metadata["dropped_parameters"] == ["num_beams"]
    [warning] = warnings(caplog)
    assert "does not support num_beams" in warning


async def test_another_cause_or_another_engine_warns_again(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    await engine.agenerate("a", unsupported())
    await engine.agenerate("a", InferenceConfig(generation=GenerationParams(num_beams=3, min_p=0.5)))
    await FakeEngine().agenerate("a", unsupported())
    assert len(warnings(caplog)) == 3


async def test_parameters_that_a_call_cannot_change_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    for _ in range(3):
        await engine.agenerate("a", InferenceConfig(remote_params=RemoteParams(num_workers=3)))
    assert len(warnings(caplog)) == 1
