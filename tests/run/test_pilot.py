"""Estimates of what a job will take, from some of its rows."""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    Estimate,
    FinishReason,
    InferenceConfig,
    InputError,
    Message,
    Role,
    RunInterruptedError,
    SpendingLimitError,
    Stop,
    Usage,
    rows_from,
)
from asyncinfer.types.answer import Completion
from asyncinfer.types.estimates import Interval, estimated_total, t_quantile
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, write_jsonl


def job(tmp_path: Path, rows: list[Conversation], **more: object) -> InferenceConfig:
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    prices = {"cost_per_million": {"input": 1, "output": 2}}
    return InferenceConfig.model_validate(
        {"input_path": str(source), "output_path": str(tmp_path / "out.jsonl"), **prices, **more}
    )


class Varied(FakeEngine):
    """The answer to question N has N tokens."""

    async def _generate(self, conversation: Conversation) -> Completion:
        await super()._generate(conversation)
        number = int(str(conversation.messages[-1].content).split()[-1])
        usage = Usage(10, number, number + 10)
        return Completion(Message(role=Role.ASSISTANT, content="yes"), FinishReason.STOP, usage)


async def test_pilot_answers_only_some_rows_and_the_job_does_not_send_them_again(tmp_path: Path) -> None:
    engine, config = Varied(), job(tmp_path, questions(200))
    estimate = await engine.aestimate(None, config, rows=20)
    assert engine.asked.total() == 20
    assert (estimate.rows, estimate.left, estimate.pilot_rows) == (200, 180, 20)
    assert not (tmp_path / "out.jsonl").exists()
    summary = await engine.arun(config)
    assert engine.asked.total() == 200
    assert summary.resumed == 20
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 200


@pytest.mark.parametrize("rows", [0, -1])
async def test_pilot_without_rows_is_an_error(rows: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"rows: .*at least 1 row \(found {rows}\)"):
        await Varied().aestimate(None, job(tmp_path, questions(2)), rows=rows)


async def test_interval_contains_what_the_job_then_takes(tmp_path: Path) -> None:
    engine, config = Varied(), job(tmp_path, questions(300))
    estimate = await engine.aestimate(None, config, rows=30)
    summary = await engine.arun(config)
    tokens, cost = estimate.completion_tokens, estimate.cost
    assert tokens is not None
    assert cost is not None
    assert tokens.low is not None
    assert tokens.high is not None
    assert tokens.low < summary.usage.completion_tokens < tokens.high
    assert estimate.prompt_tokens == Interval(2700, 2700, 2700)
    assert summary.cost is not None
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low < summary.cost.usd < cost.high
    assert estimate.seconds is not None
    assert estimate.paid is not None
    assert estimate.paid.usd > 0


async def test_second_pilot_needs_no_requests(tmp_path: Path) -> None:
    engine, config = Varied(), job(tmp_path, questions(100))
    first = await engine.aestimate(None, config, rows=10)
    second = await engine.aestimate(None, config, rows=10)
    assert engine.asked.total() == 10
    assert second.completion_tokens == first.completion_tokens
    assert second.cost == first.cost
    assert second.seconds is None  # Nothing was measured.
    larger = await engine.aestimate(None, config, rows=15)
    assert engine.asked.total() <= 25
    assert larger.pilot_rows == 15


async def test_rows_may_be_given_as_a_list_without_a_path() -> None:
    engine = Varied()
    estimate = await engine.aestimate(questions(50), rows=5)
    assert estimate.left == 45
    assert estimate.cost is None
    await engine.ainfer(questions(50))
    assert engine.asked.total() == 50


async def test_rows_of_a_table_may_be_given() -> None:
    engine = Varied()
    estimate = await engine.aestimate(rows_from([{"n": n} for n in range(50)], prompt="question {{ n }}"), rows=5)
    assert estimate.left == 45
    assert engine.asked.total() == 5


async def test_duplicates_are_estimated_once(tmp_path: Path) -> None:
    engine = Varied()
    estimate = await engine.aestimate(None, job(tmp_path, [question(f"q {i % 10}") for i in range(100)]), rows=4)
    assert (estimate.rows, estimate.left) == (100, 6)


async def test_pilot_larger_than_the_job_answers_every_row(tmp_path: Path) -> None:
    estimate = await Varied().aestimate(None, job(tmp_path, questions(5)), rows=50)
    assert (estimate.pilot_rows, estimate.left) == (5, 0)
    assert estimate.completion_tokens == Interval(0, 0, 0)


async def test_failed_rows_of_the_pilot_are_reported(tmp_path: Path) -> None:
    def script(*_: object) -> None:
        raise rejection()

    estimate = await FakeEngine(script).aestimate(None, job(tmp_path, questions(100)), rows=3)
    assert (estimate.pilot_rows, estimate.left) == (0, 100)
    assert len(estimate.failures) == 3
    assert estimate.completion_tokens is None


async def test_what_failed_rows_used_is_part_of_the_estimate(tmp_path: Path) -> None:
    """A job whose answers are often rejected pays for these too."""

    def script(text: str, _: int) -> None:
        if int(text.split()[-1]) % 2:
            error = rejection()
            error.usage = Usage(10, 100, 110)
            raise error

    estimate = await Varied(script).aestimate(None, job(tmp_path, questions(400)), rows=40)
    assert 0 < estimate.pilot_rows < 40
    assert estimate.cost is not None
    assert estimate.paid is not None
    assert estimate.cost.expected == pytest.approx(estimate.paid.usd / 40 * estimate.left)


async def test_limits_hold_for_the_pilot_too(tmp_path: Path) -> None:
    config = job(tmp_path, questions(100), max_tokens=1500)
    with pytest.raises(SpendingLimitError):
        await Varied().aestimate(None, config, rows=50)


async def test_pilot_can_be_stopped(tmp_path: Path) -> None:
    stop = Stop()
    engine = FakeEngine(lambda *_: stop.request(), workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.aestimate(None, job(tmp_path, questions(100)), rows=50, stop=stop)


async def test_no_rows_take_nothing() -> None:
    assert await FakeEngine().aestimate([]) == Estimate(0, 0, 0)


def test_blocking_twin_estimates(tmp_path: Path) -> None:
    assert Varied().estimate(None, job(tmp_path, questions(20)), rows=2).left == 18


def test_one_row_gives_no_interval() -> None:
    assert estimated_total([5.0], 10) == Interval(50.0, None, None)


def test_interval_is_bounded_by_what_a_row_can_have() -> None:
    total = estimated_total([1, 100], 10, most=100)
    assert total.low == 0
    assert total.high == 1000


def test_95_of_100_intervals_contain_the_sum() -> None:
    chance, inside = random.Random(7), 0
    rows = [chance.gauss(100, 30) for _ in range(1_000)]
    for _ in range(400):
        sample = chance.sample(range(1_000), 12)
        rest = sum(rows) - sum(rows[i] for i in sample)
        total = estimated_total([rows[i] for i in sample], 988)
        assert total.low is not None
        assert total.high is not None
        inside += total.low <= rest <= total.high
    assert 0.92 < inside / 400 < 0.98


@pytest.mark.parametrize(("size", "least"), [(10, 0.88), (20, 0.9), (50, 0.92)])
def test_intervals_of_skewed_lengths_are_wide_enough(size: int, least: float) -> None:
    """Most answers are short, and a few are many times longer. Student's interval alone has only 80% to 90% of sums."""
    chance, inside = random.Random(7), 0
    rows = [chance.lognormvariate(4, 1) for _ in range(1_000)]
    for _ in range(300):
        sample = set(chance.sample(range(1_000), size))
        rest = sum(row for place, row in enumerate(rows) if place not in sample)
        total = estimated_total([rows[i] for i in sample], 1_000 - size)
        assert total.low is not None
        assert total.high is not None
        inside += total.low <= rest <= total.high
    assert inside / 300 > least


def test_interval_of_equal_values_is_a_point() -> None:
    assert estimated_total([4.0] * 5, 10) == Interval(40.0, 40.0, 40.0)


def test_long_answers_in_the_sample_raise_the_upper_end_more_than_the_lower_one() -> None:
    total = estimated_total([10.0] * 18 + [400.0, 500.0], 100)
    assert total.low is not None
    assert total.high is not None
    assert total.high - total.expected > 1.5 * (total.expected - total.low)


def test_quantiles_continue_those_of_the_table() -> None:
    values = [t_quantile(degrees) for degrees in range(1, 60)]
    assert values == sorted(values, reverse=True)
    assert t_quantile(40) == pytest.approx(2.0211, abs=1e-3)
    assert t_quantile(10**6) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-4)


class TestAnsweredRows:
    """Rows that are answered already are part of the pilot, and are not paid again."""

    async def test_output_of_a_finished_job_is_the_pilot(self, tmp_path: Path) -> None:
        engine, config = Varied(), job(tmp_path, questions(100))
        await engine.arun(config)
        output = (tmp_path / "out.jsonl").read_bytes()
        estimate = await engine.aestimate(None, config, rows=10)
        assert engine.asked.total() == 100
        assert (estimate.rows, estimate.left, estimate.sent_again) == (100, 100, 100)
        assert (estimate.pilot_rows, estimate.already_answered) == (10, 10)
        assert estimate.prompt_tokens == Interval(1000, 1000, 1000)
        assert estimate.cost is not None
        assert estimate.seconds is None
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
        assert (tmp_path / "out.jsonl").read_bytes() == output

    async def test_nothing_is_left_of_a_finished_job_whose_output_is_reused(self, tmp_path: Path) -> None:
        engine, config = Varied(), job(tmp_path, questions(30), reuse_output=True)
        await engine.arun(config)
        estimate = await engine.aestimate(None, config, rows=10)
        assert engine.asked.total() == 30
        assert (estimate.left, estimate.sent_again, estimate.already_answered) == (0, 0, 10)
        assert estimate.cost == Interval(0, 0, 0)

    async def test_new_rows_of_a_finished_job_are_sent(self, tmp_path: Path) -> None:
        engine = Varied()
        await engine.arun(job(tmp_path, questions(30)))
        estimate = await engine.aestimate(None, job(tmp_path, questions(60), reuse_output=True), rows=60)
        assert engine.asked.total() == 60
        assert (estimate.left, estimate.pilot_rows, estimate.already_answered) == (0, 60, 30)

    async def test_saved_rows_of_an_interrupted_job_are_counted_as_earlier(self, tmp_path: Path) -> None:
        stop, config = Stop(grace=0), job(tmp_path, questions(40))
        first = FakeEngine(lambda text, _: stop.request() if text == "question 20" else None, workers=1)
        with pytest.raises(RunInterruptedError):
            await first.arun(config, stop=stop)
        engine = Varied()
        estimate = await engine.aestimate(None, config, rows=40)
        assert estimate.already_answered == 40 - engine.asked.total()
        assert 15 < estimate.already_answered < 25
        assert estimate.left == 0

    async def test_output_that_cannot_be_read_back_is_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine, config = Varied(), job(tmp_path, questions(10), output_path=str(tmp_path / "out.csv"))
        await engine.arun(config)
        config = job(tmp_path, questions(15), output_path=str(tmp_path / "out.csv"))
        estimate = await engine.aestimate(None, config, rows=2)
        assert (estimate.pilot_rows, estimate.already_answered, engine.asked.total()) == (2, 0, 12)
        assert "out.csv exists already. Its answers cannot be read back: the rows of the pilot are sent" in caplog.text

    @pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
    async def test_job_whose_table_has_a_row_for_each_row_of_the_input_is_finished(
        self, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine, config = Varied(), job(tmp_path, questions(10), output_path=str(tmp_path / name))
        await engine.arun(config)
        estimate = await engine.aestimate(None, config, rows=2)
        assert engine.asked.total() == 10
        assert (estimate.rows, estimate.left, estimate.sent_again, estimate.pilot_rows) == (10, 10, 10, 0)
        assert f"{name} exists already" in caplog.text
        assert "it has 10 rows, as many as the input, so the job counts as finished" in caplog.text
        assert not (tmp_path / "scratch").exists()

    async def test_table_that_cannot_be_counted_is_not_that_of_a_finished_job(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine, config = Varied(), job(tmp_path, questions(10), output_path=str(tmp_path / "out.parquet"))
        (tmp_path / "out.parquet").write_text("no table")
        assert (await engine.aestimate(None, config, rows=2)).pilot_rows == 2
        assert "out.parquet exists already. Its answers cannot be read back" in caplog.text

    async def test_edited_output_is_no_part_of_the_pilot(self, tmp_path: Path) -> None:
        engine, config = Varied(), job(tmp_path, questions(10))
        await engine.arun(config)
        output = tmp_path / "out.jsonl"
        output.write_text(output.read_text().replace('"messages"', '"messages'))
        estimate = await engine.aestimate(None, config, rows=10)
        assert (estimate.pilot_rows, estimate.left) == (0, 10)


class TestSettings:
    """What the job refuses is refused before the pilot pays for answers."""

    async def refusal(self, config: InferenceConfig) -> str:
        engine = Varied()
        with pytest.raises((ConfigError, InputError)) as caught:
            await engine.aestimate(None, config, rows=5)
        assert not engine.asked
        return str(caught.value)

    @pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.jsonl.gz"])
    @pytest.mark.parametrize("reuse", [False, True])
    async def test_limit_below_the_answers_in_the_output(self, name: str, reuse: bool, tmp_path: Path) -> None:
        path = str(tmp_path / name)
        await FakeEngine().arun(job(tmp_path, questions(10), output_path=path))
        reuse = reuse and name == "out.jsonl"
        config = job(tmp_path, questions(30), output_path=path, limit=4, reuse_output=reuse)
        assert f"limit: {path} has 10 answers" in await self.refusal(config)

    async def test_progress_file_that_is_the_input(self, tmp_path: Path) -> None:
        config = job(tmp_path, questions(10), progress_path=str(tmp_path / "in.jsonl"))
        assert "progress_path and input_path are the same file" in await self.refusal(config)

    async def test_report_that_is_the_output(self, tmp_path: Path) -> None:
        config = job(tmp_path, questions(10), report_path=str(tmp_path / "out.jsonl"))
        assert "report_path and output_path are the same file" in await self.refusal(config)

    async def test_column_of_the_answer_that_the_input_has(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("text,answer\na,b\n")
        config = InferenceConfig.model_validate(
            {"input": {"path": tmp_path / "in.csv", "prompt": "{{ text }}"}, "output_path": tmp_path / "out.csv"}
        )
        assert "answer" in await self.refusal(config)

    async def test_column_to_keep_that_the_input_lacks(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("text\na\n")
        columns = {"path": tmp_path / "in.csv", "prompt": "{{ text }}", "keep": ["id"]}
        config = InferenceConfig.model_validate({"input": columns, "output_path": tmp_path / "out.csv"})
        assert "id" in await self.refusal(config)

    async def test_retry_without_failed_rows(self, tmp_path: Path) -> None:
        assert "there is no file" in await self.refusal(job(tmp_path, questions(10), retry_failures=True))


async def test_duplicates_with_settings_of_their_own_are_left(tmp_path: Path) -> None:
    rows = [
        question("q 1"),
        question("q 1"),
        question("q 2", generation={"seed": 1}),
        question("q 2", generation={"seed": 1}),
    ]
    estimate = await Varied().aestimate(None, job(tmp_path, rows), rows=1)
    assert estimate.left == 2
