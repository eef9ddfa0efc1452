"""`FailurePattern`: which failures end a run early, and which fail one row."""

from __future__ import annotations

import pytest

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.control.run_end import FailurePattern, RunEnd
from asyncinfer.errors import ErrorScope
from tests.control.errors import connection_lost, fault, quota, rejected
from tests.fakes import refusal, timeout

URL = "https://api.example.com/v1/chat/completions"


def fresh() -> FailurePattern:
    return FailurePattern(URL, max_wait=900.0, max_outage=900.0)


def in_mid_run() -> FailurePattern:
    pattern = fresh()
    pattern.answered()
    return pattern


def failures(
    pattern: FailurePattern, error: RequestError, most: int = 200, *, is_final: bool = True, out_for: float = 0.0
) -> tuple[int, RunEnd] | None:
    """How many such failures end the run, and the end; None if `most` of them do not end it."""
    for count in range(1, most + 1):
        if (end := pattern.failed(error, is_final=is_final, out_for=out_for)) is not None:
            return count, end
    return None


class TestAccountErrors:
    ERROR = rejected("the key is revoked", 401, ErrorScope.ACCOUNT)

    def test_second_account_error_ends_a_run_without_answers(self) -> None:
        count, end = failures(fresh(), self.ERROR) or (0, None)
        assert count == 2
        assert end is not None
        assert end.is_config
        assert URL in end.message
        assert "the key is revoked" in end.message

    def test_third_account_error_in_a_row_ends_a_run_with_answers(self) -> None:
        count, end = failures(in_mid_run(), self.ERROR) or (0, None)
        assert count == 3
        assert end is not None
        assert not end.is_config

    @pytest.mark.parametrize(
        ("kind", "status", "has_advice"),
        [
            (InferenceErrorType.API_STATUS, 401, True),
            (InferenceErrorType.API_STATUS, None, True),
            (InferenceErrorType.API_STATUS, 302, False),
            (InferenceErrorType.CONFIG, None, False),
            (InferenceErrorType.CONNECTION, None, False),
        ],
    )
    def test_only_a_refusal_of_the_api_is_followed_by_what_to_check(
        self, kind: InferenceErrorType, status: int | None, has_advice: bool
    ) -> None:
        """A redirection, an invalid proxy and a server without TLS have other causes, which their messages name."""
        error = RequestError("the cause", error_type=kind, status_code=status, scope=ErrorScope.ACCOUNT)
        _, end = failures(fresh(), error) or (0, None)
        assert end is not None
        assert end.message.startswith(f"{URL}: the cause")
        assert ("Check the API key" in end.message) == has_advice

    def test_answers_between_account_errors_keep_the_run_going(self) -> None:
        pattern = in_mid_run()
        for _ in range(50):
            assert failures(pattern, self.ERROR, most=2) is None
            pattern.answered()


class TestQuotas:
    @pytest.mark.parametrize("error", [quota(36_000.0), quota(None), refusal(1e9)])
    def test_third_refusal_for_longer_than_max_wait_ends_the_run(self, error: RequestError) -> None:
        count, end = failures(in_mid_run(), error, is_final=False) or (0, None)
        assert count == 3
        assert end is not None
        assert not end.is_config

    def test_message_says_when_the_quota_resets(self) -> None:
        _, end = failures(in_mid_run(), quota(36_300.0), is_final=False) or (0, None)
        assert end is not None
        assert "10 h 5 min" in end.message
        assert "max_wait" in end.message

    @pytest.mark.parametrize("error", [refusal(), refusal(60.0), quota(60.0), refusal(900.0)])
    def test_refusals_within_max_wait_do_not_end_the_run(self, error: RequestError) -> None:
        assert failures(in_mid_run(), error, is_final=False) is None


class TestSimilarRejections:
    def test_twenty_similar_rejections_in_a_row_end_the_run(self) -> None:
        count, end = failures(in_mid_run(), rejected("no such field", 422)) or (0, None)
        assert count == 20
        assert end is not None
        assert "no such field" in end.message

    def test_rejections_that_differ_in_numbers_and_quoted_text_are_similar(self) -> None:
        pattern, ends = in_mid_run(), list[RunEnd | None]()
        for i in range(20):
            error = rejected(f"request {i}: unknown field 'f{i}' at \"line {i}\"", 422)
            ends.append(pattern.failed(error, is_final=True, out_for=0.0))
        assert ends[:19] == [None] * 19
        assert ends[19] is not None

    def test_rejections_with_different_messages_do_not_end_the_run(self) -> None:
        pattern = in_mid_run()
        texts = ("too long", "no such field", "bad image")
        assert all(pattern.failed(rejected(texts[i % 3]), is_final=True, out_for=0.0) is None for i in range(100))

    def test_rejections_with_different_statuses_are_not_similar(self) -> None:
        pattern = in_mid_run()
        assert all(pattern.failed(rejected("no", 400 + i % 2), is_final=True, out_for=0.0) is None for i in range(100))

    def test_answer_resets_the_count_of_similar_rejections(self) -> None:
        pattern = in_mid_run()
        assert failures(pattern, rejected(), most=19) is None
        pattern.answered()
        assert failures(pattern, rejected(), most=19) is None


class TestRowErrors:
    ERROR = rejected("the prompt was flagged", 403, ErrorScope.ROW)

    def test_any_number_of_row_errors_does_not_end_the_run(self) -> None:
        assert failures(fresh(), self.ERROR) is None
        assert failures(in_mid_run(), self.ERROR) is None

    def test_row_error_resets_every_count(self) -> None:
        pattern = in_mid_run()
        for error in (rejected("no", 401, ErrorScope.ACCOUNT), quota(None)):
            for _ in range(20):
                assert failures(pattern, error, most=2, is_final=False) is None
                pattern.failed(self.ERROR, is_final=True, out_for=0.0)

    def test_row_error_is_not_an_answer(self) -> None:
        pattern = fresh()
        pattern.failed(self.ERROR, is_final=True, out_for=0.0)
        _, end = failures(pattern, rejected("no such field", 422)) or (0, None)
        assert end is not None
        assert end.is_config


class TestExhaustedRetries:
    @pytest.mark.parametrize("error", [connection_lost(), timeout(), fault(500)])
    def test_three_rows_without_retries_left_end_a_run_without_answers(self, error: RequestError) -> None:
        count, end = failures(fresh(), error) or (0, None)
        assert count == 3
        assert end is not None
        assert "api_url" in end.message

    def test_rows_with_retries_left_do_not_count(self) -> None:
        assert failures(fresh(), connection_lost(), is_final=False) is None

    def test_rows_without_retries_left_do_not_end_a_run_with_answers(self) -> None:
        assert failures(in_mid_run(), fault(500)) is None


class TestOutages:
    @pytest.mark.parametrize("error", [connection_lost(), fault(500), refusal()])
    def test_an_outage_as_long_as_max_outage_ends_the_run(self, error: RequestError) -> None:
        assert failures(in_mid_run(), error, is_final=False, out_for=899.0) is None
        count, end = failures(in_mid_run(), error, is_final=False, out_for=900.0) or (0, None)
        assert count == 1
        assert end is not None
        assert "15 min" in end.message
        assert "max_outage" in end.message


class TestEndpointWithoutAnswers:
    def test_minute_of_faults_before_any_answer_ends_the_run(self) -> None:
        pattern = fresh()
        error = connection_lost()
        assert pattern.failed(error, is_final=False, out_for=59.0, ever_answered=False) is None
        end = pattern.failed(error, is_final=False, out_for=60.0, ever_answered=False)
        assert end is not None
        assert "no request was answered" in end.message

    def test_minute_of_refusals_before_any_answer_does_not_end_the_run(self) -> None:
        assert fresh().failed(refusal(), is_final=False, out_for=60.0, ever_answered=False) is None

    def test_minute_of_faults_after_an_answer_does_not_end_the_run(self) -> None:
        assert in_mid_run().failed(connection_lost(), is_final=False, out_for=60.0, ever_answered=True) is None
