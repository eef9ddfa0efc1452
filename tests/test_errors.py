"""Errors cross process boundaries."""

from __future__ import annotations

import pickle

import pytest

from asyncinfer import (
    AsyncInferError,
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    FailureDetail,
    InferenceErrorType,
    InferenceFailedError,
    InferenceResult,
    MissingDependencyError,
    RequestError,
)
from asyncinfer.errors import error_name_and_text
from asyncinfer.types.limits import LimitObservation

ERRORS: list[AsyncInferError] = [
    ConfigError("a setting is wrong"),
    MissingDependencyError("ray", "ray"),
    EngineDeadError("dead", error_type=InferenceErrorType.TIMEOUT, is_retryable=False),
    EngineConfigError("wrong", error_type=InferenceErrorType.CONFIG, status_code=401),
    InferenceFailedError("failed", InferenceResult([], {0: FailureDetail("no")})),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickled_error_keeps_its_class_its_text_and_its_attributes(error: AsyncInferError) -> None:
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert (str(restored), restored.__dict__) == (str(error), error.__dict__)


def test_pickled_refusal_keeps_the_limits_of_the_endpoint() -> None:
    error = RequestError(
        "busy", error_type=InferenceErrorType.API_STATUS, status_code=429, is_overload=True, retry_after=2.5
    )
    error.limits = {"requests": LimitObservation(60, 3, 1.0)}
    restored = pickle.loads(pickle.dumps(error))
    assert restored.__dict__ == error.__dict__
    assert restored.limits == error.limits


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (EOFError(), "EOFError"),
        (Unreadable(), "Unreadable: (its text cannot be shown)"),
    ],
)
def test_name_and_text_of_an_error(error: Exception, text: str) -> None:
    assert error_name_and_text(error) == text
