"""What is shown about failed rows."""

from __future__ import annotations

import pytest

from asyncinfer.cli.display import show_failures
from asyncinfer.types.results import FailureDetail


def test_equal_failures_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [(row, FailureDetail("the key is wrong" if row != 4 else "too long")) for row in range(20)]
    show_failures(failures, 495)
    assert capsys.readouterr().err.splitlines() == [
        "row 0 failed: the key is wrong",
        "row 4 failed: too long",
        "... and 493 more failed rows",
    ]


def test_at_most_five_different_failures_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_failures([(row, FailureDetail(f"reason {row}")) for row in range(9)], 9)
    assert capsys.readouterr().err.splitlines()[4:] == ["row 4 failed: reason 4", "... and 4 more failed rows"]


def test_reason_for_an_early_end_is_not_preceded_by_the_error_that_it_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = "HTTP 401: Incorrect API key"
    show_failures([(0, FailureDetail(error)), (1, FailureDetail(f"https://host/v1: {error}. Check the API key"))], 3)
    assert capsys.readouterr().err.splitlines() == [
        "row 1 failed: https://host/v1: HTTP 401: Incorrect API key. Check the API key",
        "... and 2 more failed rows",
    ]
