"""The failure of a row, made from the error that ended it."""

from __future__ import annotations

import pytest

from asyncinfer import (
    AsyncInferError,
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    InputError,
    MissingDependencyError,
    RequestError,
)
from asyncinfer.types.results import failure_of

CONFIG, STATUS, ENGINE = (
    InferenceErrorType.CONFIG,
    InferenceErrorType.API_STATUS,
    InferenceErrorType.ENGINE_FAILURE,
)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("wrong"),
        MissingDependencyError("torch", "native"),
        InputError("bad"),
        EngineConfigError("wrong", error_type=CONFIG),
        EngineConfigError("HTTP 401", error_type=STATUS, status_code=401),
        EngineDeadError("HTTP 401", error_type=STATUS, status_code=401, is_retryable=False),
        RequestError("HTTP 400", error_type=STATUS, status_code=400),
        AsyncInferError("odd"),
        None,
    ],
)
def test_failure_that_no_new_attempt_can_help_is_not_retryable(error: Exception | None) -> None:
    assert not failure_of(error).is_retryable


@pytest.mark.parametrize(
    "error",
    [
        EngineDeadError("out of memory", error_type=ENGINE),
        EngineDeadError("HTTP 503", error_type=STATUS, status_code=503, is_retryable=True),
        RequestError("HTTP 503", error_type=STATUS, status_code=503, is_retryable=True),
    ],
)
def test_failure_that_may_be_temporary_is_retryable(error: Exception) -> None:
    assert failure_of(error).is_retryable


@pytest.mark.parametrize("error", [ConfigError("wrong"), MissingDependencyError("torch", "native")])
def test_wrong_setting_is_a_config_failure(error: Exception) -> None:
    assert failure_of(error).error_type == CONFIG
