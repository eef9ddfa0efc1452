"""`remote_params.adaptive` sets the controller of an engine."""

from __future__ import annotations

import pytest

from asyncinfer import (
    AdaptiveConcurrencyParams,
    ConfigError,
    InferenceConfig,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.providers.catalog import CATALOG
from tests.fakes import FakeEngine, question

FEWEST = min(CATALOG.values(), key=lambda provider: provider.workers)


def engine_with(**remote: object) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams.model_validate(remote))


def test_engine_starts_with_the_permits_that_follow_from_the_parameters() -> None:
    adaptive = {"min_concurrency": 4, "max_concurrency": 12, "initial_concurrency_factor": 0.25}
    assert engine_with(num_workers=20, adaptive=adaptive)._endpoint.permits() == 6
    assert engine_with(num_workers=20)._endpoint.permits() == 10


def test_parameters_have_no_effect_without_adaptive_concurrency() -> None:
    remote = {"num_workers": 20, "use_adaptive_concurrency": False, "adaptive": {"max_concurrency": 12}}
    assert engine_with(**remote)._endpoint.permits() == 20


def test_bound_above_the_default_workers_of_a_provider_is_an_error() -> None:
    class Engine(RemoteInferenceEngine):
        engine_type = FEWEST.name

    remote = RemoteParams(adaptive=AdaptiveConcurrencyParams(max_concurrency=FEWEST.workers + 1))
    with pytest.raises(
        ConfigError, match=rf"remote_params\.adaptive\.max_concurrency .* num_workers \({FEWEST.workers}\)"
    ):
        Engine(ModelParams(model_name="m"), remote_params=remote)


async def test_parameters_of_a_call_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(workers=20)
    call = RemoteParams.model_validate({"adaptive": {"concurrency_step": 2}})
    await engine.ainfer([question("a")], InferenceConfig(remote_params=call))
    assert "remote_params: a call cannot change adaptive; the values of the engine are used" in caplog.text
