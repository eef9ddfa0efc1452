"""Jobs as providers show them: states, times, counts and errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from asyncinfer import BatchStatus, RequestError
from asyncinfer.dialects.openai.batches.fields import as_time
from asyncinfer.dialects.openai.batches.jobs import error_text, job_info, status_of

_MARCH = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((status.value, status) for status in BatchStatus),
        ("Validating", BatchStatus.VALIDATING),
        ("canceled", BatchStatus.CANCELLED),
        ("CANCELING", BatchStatus.CANCELLING),
        ("QUEUED", BatchStatus.IN_PROGRESS),
        ("RUNNING", BatchStatus.IN_PROGRESS),
        ("SUCCESS", BatchStatus.COMPLETED),
        ("TIMEOUT_EXCEEDED", BatchStatus.EXPIRED),
        ("CANCELLATION_REQUESTED", BatchStatus.CANCELLING),
        ("JOB_STATE_VALIDATING", BatchStatus.VALIDATING),
        ("JOB_STATE_CREATING", BatchStatus.VALIDATING),
        ("JOB_STATE_PENDING", BatchStatus.IN_PROGRESS),
        ("JOB_STATE_RE_QUEUEING", BatchStatus.IN_PROGRESS),
        ("JOB_STATE_WRITING_RESULTS", BatchStatus.FINALIZING),
        ("JOB_STATE_EARLY_STOPPED", BatchStatus.EXPIRED),
        ("JOB_STATE_DELETING_CLEANING_UP", BatchStatus.CANCELLED),
        ("something new", BatchStatus.IN_PROGRESS),
        (None, BatchStatus.IN_PROGRESS),
        (7, BatchStatus.IN_PROGRESS),
    ],
)
def test_words_of_all_providers_are_known(word: Any, status: BatchStatus) -> None:
    assert status_of(word) is status


@pytest.mark.parametrize(
    "value",
    [
        1772366400,
        1772366400.0,
        "1772366400",
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00.000000000Z",
        "2026-03-01T12:00:00.0000000+00:00",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T12:00:00",
    ],
)
def test_times_are_read_in_each_format(value: Any) -> None:
    assert as_time(value) == _MARCH


@pytest.mark.parametrize("value", [None, True, 0, -1, 1e99, float("nan"), "", "soon", "0001-01-01T00:00:00Z", [], {}])
def test_odd_times_are_ignored(value: Any) -> None:
    assert as_time(value) is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"errors": None}, None),
        ({"errors": {"object": "list", "data": []}}, None),
        ({"errors": {"data": [{"code": "c", "message": "m", "line": 3}]}}, "line 3: m"),
        ({"errors": [{"code": "c"}]}, "c"),
        ({"errors": [{"message": "m", "count": 2}]}, "m"),
        ({"error": "Invalid model ID"}, "Invalid model ID"),
        ({"error": {"message": "m"}}, "m"),
        ({"errors": [{"message": letter} for letter in "abcde"]}, "a; b; c; 2 more"),
        ({"errors": [None, 1, {}]}, "1"),
    ],
)
def test_errors_of_job_become_one_text(fields: dict[str, Any], text: str | None) -> None:
    assert error_text(fields) == text


def test_counts_that_are_null_are_zero() -> None:
    info = job_info({"id": "b", "request_counts": {"total": 10, "completed": None, "failed": None}})

    assert (info.total_requests, info.completed_requests, info.failed_requests) == (10, 0, 0)


def test_progress_becomes_counts_of_hundred() -> None:
    info = job_info({"id": "b", "progress": 42.7})

    assert (info.total_requests, info.completed_requests, info.completion_percentage) == (100, 42, 42)


def test_errors_of_rows_are_no_error_of_completed_job() -> None:
    info = job_info({"id": "b", "status": "SUCCESS", "errors": [{"message": "m"}], "failed_requests": 1})

    assert info.error is None
    assert info.has_errors


@pytest.mark.parametrize("data", [{}, {"id": None}, {"id": ""}, {"id": []}, {"job": {}}])
def test_job_without_id_is_an_error(data: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="has no id"):
        job_info(data)
