"""`remote_params.adaptive`: the settings of adaptive concurrency, and how they go together with `num_workers`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from asyncinfer import AdaptiveConcurrencyParams, ConfigError, InferenceConfig, RemoteParams


def test_yaml_sets_single_parameters() -> None:
    config = InferenceConfig.from_str("remote_params: {adaptive: {concurrency_step: 2, min_update_time: 5}}")
    assert config.remote_params is not None
    assert config.remote_params.adaptive == AdaptiveConcurrencyParams(concurrency_step=2, min_update_time=5)


def test_unknown_key_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"remote_params\.adaptive\.concurency_step: unknown key; did you mean 'concur"
    ):
        InferenceConfig.from_str("remote_params: {adaptive: {concurency_step: 2}}")


@pytest.mark.parametrize("name", ["max_concurrency", "min_concurrency"])
def test_bound_above_num_workers_is_an_error_that_names_both(name: str) -> None:
    adaptive = AdaptiveConcurrencyParams.model_validate({name: 20})
    with pytest.raises(ConfigError, match=rf"adaptive\.{name} \(20\) must not be more than num_workers \(10\)"):
        RemoteParams(num_workers=10, adaptive=adaptive)
    with pytest.raises(ConfigError, match=rf"^config: remote_params: adaptive\.{name} \(60\) .* num_workers \(50\)"):
        InferenceConfig.from_str(f"remote_params: {{adaptive: {{{name}: 60}}}}")


def test_bound_equal_to_num_workers_is_accepted() -> None:
    remote = RemoteParams(num_workers=10, adaptive=AdaptiveConcurrencyParams(max_concurrency=10))
    with pytest.raises(ValidationError, match=r"max_concurrency \(10\) must not be more than num_workers \(9\)"):
        remote.num_workers = 9


def test_default_bounds_go_together_with_any_number_of_workers() -> None:
    assert RemoteParams(num_workers=1, adaptive=AdaptiveConcurrencyParams()).adaptive is not None
