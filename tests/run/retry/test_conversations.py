"""`retry_failures` runs the failed rows of an earlier run, and merges their answers into its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    InferenceConfig,
    InferenceFailedError,
    InputError,
    RequestError,
    RunInterruptedError,
    ScratchError,
    SpendingLimitError,
    Stop,
    Usage,
)
from asyncinfer.run.retry.merge import RetryMerge
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, write_jsonl
from tests.faulty_disk import KilledError, killed_at_replacement


def rejecting(*numbers: int) -> Callable[[str, int], None]:
    def script(text: str, _: int) -> None:
        if text in {f"question {number}" for number in numbers}:
            raise rejection()

    return script


def refuse() -> None:
    raise rejection()


def job(folder: Path, **more: object) -> InferenceConfig:
    return InferenceConfig.model_validate(
        {"input_path": str(folder / "in.jsonl"), "output_path": str(folder / "out.jsonl"), **more}
    )


async def run_first(folder: Path, *failing: int, rows: int = 10) -> InferenceConfig:
    """Run a job in which some rows fail. Returns the configuration that tries these rows again."""
    write_jsonl(folder / "in.jsonl", questions(rows))
    await FakeEngine(rejecting(*failing)).arun(job(folder))
    return job(folder, retry_failures=True)


def ids(path: Path) -> list[str]:
    return [row["conversation_id"] for row in read_jsonl(path)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_answers_get_the_places_of_their_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 3, 4, 9)
    assert ids(tmp_path / "out.jsonl") == ["q1", "q2", "q5", "q6", "q7", "q8"]
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.total, summary.completed, summary.failed, summary.failures_path) == (4, 4, 0, None)
    assert set(engine.asked) == {"question 0", "question 3", "question 4", "question 9"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]
    assert all("failure" not in row["metadata"] for row in read_jsonl(tmp_path / "out.jsonl"))
    assert names(tmp_path) == {"in.jsonl", "out.jsonl"}


async def test_rows_that_fail_again_stay_in_the_file(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 3, 4, 9)
    summary = await FakeEngine(rejecting(3, 9)).arun(config)
    assert (summary.completed, summary.failures_path) == (2, tmp_path / "out.jsonl.failures.jsonl")
    assert [row for row, _ in summary.failure_samples] == [3, 9]
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1", "q2", "q4", "q5", "q6", "q7", "q8"]
    failures = read_jsonl(tmp_path / "out.jsonl.failures.jsonl")
    assert [row["metadata"]["failure"]["row"] for row in failures] == [3, 9]
    await FakeEngine().arun(config)
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_nothing_changes_if_all_fail_again(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 1, 2)
    before = (tmp_path / "out.jsonl").read_bytes()
    await FakeEngine(rejecting(1, 2)).arun(config)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert ids(tmp_path / "out.jsonl.failures.jsonl") == ["q1", "q2"]


async def test_output_is_created_if_every_row_had_failed(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 1, rows=2)
    assert not (tmp_path / "out.jsonl").exists()
    await FakeEngine().arun(config)
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1"]


async def test_corrected_row_is_sent_as_it_is_in_the_file(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2)
    path = tmp_path / "out.jsonl.failures.jsonl"
    path.write_text(path.read_text().replace("question 2", "a better question"))
    engine = FakeEngine()
    await engine.arun(config)
    assert set(engine.asked) == {"a better question"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_limit_tries_the_first_failed_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5, 7)
    await FakeEngine().arun(config.model_copy(update={"limit": 1}))
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1", "q2", "q3", "q4", "q6", "q8", "q9"]
    assert ids(tmp_path / "out.jsonl.failures.jsonl") == ["q5", "q7"]


async def test_next_run_of_the_whole_input_sends_no_merged_row(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(job(tmp_path))
    assert set(engine.asked) == {"question 5"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_interrupted_retry_resumes(tmp_path: Path) -> None:
    config, stop = await run_first(tmp_path, *range(10)), Stop(grace=0)
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 4" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.arun(config, stop=stop)
    again = FakeEngine()
    await again.arun(config)
    assert 0 < len(again.asked) < 10
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


@pytest.mark.parametrize("replacements", [0, 1], ids=["before_output", "between_files"])
async def test_merge_that_was_cut_off_is_completed(tmp_path: Path, replacements: int) -> None:
    config = await run_first(tmp_path, 2, 5)
    with killed_at_replacement("out.jsonl.retry.", replacements), pytest.raises(KilledError):
        await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(config)
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]
    assert set(engine.asked) == {"question 5"}
    assert not [name for name in names(tmp_path) if "retry" in name or "failures" in name]


async def test_job_without_failed_rows_is_an_error(tmp_path: Path) -> None:
    config = await run_first(tmp_path)
    with pytest.raises(ConfigError, match="there is no file .*out.jsonl.failures.jsonl with failed rows"):
        await FakeEngine().arun(config)


async def test_duplicates_keep_their_answers(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [question("same") for _ in range(3)])
    first = iter([True])

    def script(*_: object) -> None:
        if next(first, False):
            raise rejection()

    await FakeEngine(script, workers=1).arun(job(tmp_path))
    await FakeEngine().arun(job(tmp_path, retry_failures=True))
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 3


def failures(folder: Path) -> Path:
    return folder / "out.jsonl.failures.jsonl"


async def test_rows_without_ids_keep_their_identity_among_duplicates(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [question("same") for _ in range(4)])
    failing = iter([False, True, False, True])

    def script(*_: object) -> None:
        if next(failing, False):
            raise rejection()

    both = job(tmp_path, deduplicate=False)
    await FakeEngine(script, workers=1).arun(both)
    await FakeEngine().arun(both.model_copy(update={"retry_failures": True}))
    rows = read_jsonl(tmp_path / "out.jsonl")
    key = rows[0]["metadata"]["row_key"]
    assert [row["metadata"]["row_key"] for row in rows] == [key, f"{key}-1", f"{key}-2", f"{key}-3"]
    assert [row["conversation_id"] for row in rows] == [key, f"{key}-1", f"{key}-2", f"{key}-3"]
    engine = FakeEngine()
    await engine.arun(both.model_copy(update={"reuse_output": True}))
    assert not engine.asked


class TestEditedFile:
    async def test_corrected_duplicate_gets_an_identity_of_its_own(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "in.jsonl", [question("same"), question("same"), question("other")])
        failing = iter([False, True])
        both = job(tmp_path, deduplicate=False)
        await FakeEngine(lambda *_: refuse() if next(failing, False) else None, workers=1).arun(both)
        failures(tmp_path).write_text(failures(tmp_path).read_text().replace("same", "better"))
        await FakeEngine().arun(both.model_copy(update={"retry_failures": True}))
        write_jsonl(tmp_path / "in.jsonl", [question("same"), question("better"), question("other")])
        engine = FakeEngine()
        await engine.arun(both.model_copy(update={"reuse_output": True}))
        assert not engine.asked

    async def test_removed_rows_are_left_out_and_the_others_get_their_places(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1, 3, 7)
        lines = failures(tmp_path).read_text().splitlines(keepends=True)
        failures(tmp_path).write_text(lines[2])
        await FakeEngine().arun(config)
        assert ids(tmp_path / "out.jsonl") == ["q0", "q2", "q4", "q5", "q6", "q7", "q8", "q9"]

    async def test_rows_in_another_order_get_their_places(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1, 3, 7, 8)
        lines = failures(tmp_path).read_text().splitlines(keepends=True)
        failures(tmp_path).write_text("".join(lines[::-1]))
        await FakeEngine(rejecting(7)).arun(config)
        assert ids(tmp_path / "out.jsonl") == ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q8", "q9"]
        await FakeEngine().arun(config)
        assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]

    async def test_other_order_and_limit(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1, 3, 7, 8)
        lines = failures(tmp_path).read_text().splitlines(keepends=True)
        failures(tmp_path).write_text("\n\n".join(lines[::-1]))
        await FakeEngine().arun(config.model_copy(update={"limit": 2}))
        assert ids(tmp_path / "out.jsonl") == ["q0", "q2", "q4", "q5", "q6", "q7", "q8", "q9"]
        assert ids(failures(tmp_path)) == ["q1", "q3"]
        await FakeEngine().arun(config)
        assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]

    @pytest.mark.parametrize(
        ("broken", "why"),
        [
            ('{"messages": [{"role": "user", "content": "a"}]}', "they say where the answer belongs"),
            ('{"messages": []', "not valid JSON"),
            ("[]", "they say where the answer belongs"),
            ('{"messages": [], "metadata": {"failure": {"row": "2", "output_rows": 7}}}', "where the answer belongs"),
        ],
    )
    async def test_row_that_lost_its_place_is_an_error_that_names_the_line(
        self, broken: str, why: str, tmp_path: Path
    ) -> None:
        config = await run_first(tmp_path, 1, 3, 7)
        lines = failures(tmp_path).read_text().splitlines()
        failures(tmp_path).write_text("\n".join([lines[0], broken, lines[2]]))
        before = (tmp_path / "out.jsonl").read_bytes()
        engine = FakeEngine()
        with pytest.raises(InputError, match=rf"(?s)nothing was run.*line 2: .*{why}"):
            await engine.arun(config)
        assert not engine.asked
        assert (tmp_path / "out.jsonl").read_bytes() == before

    async def test_row_that_occurs_twice_is_an_error(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1)
        failures(tmp_path).write_text(failures(tmp_path).read_text() * 2)
        with pytest.raises(InputError, match="line 2: it has the same row, 1, as line 1"):
            await FakeEngine().arun(config)

    @pytest.mark.parametrize("content", ["", "\n \n"])
    async def test_empty_file_is_an_error(self, content: str, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1)
        failures(tmp_path).write_text(content)
        with pytest.raises(InputError, match="there are no conversations in it"):
            await FakeEngine().arun(config)

    async def test_folder_in_place_of_the_file_is_an_error(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path)
        failures(tmp_path).mkdir()
        with pytest.raises(ScratchError, match="failures.jsonl"):
            await FakeEngine().arun(config)


class TestOutputOfAnotherRun:
    """Answers are merged only into the output of the run whose rows had failed."""

    async def test_interrupted_run_keeps_its_saved_rows(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "in.jsonl", questions(10))
        stop = Stop(grace=0)

        def script(text: str, _: int) -> None:
            if text == "question 1":
                raise rejection()
            if text == "question 5":
                stop.request()

        engine = FakeEngine(script, workers=1)
        with pytest.raises(RunInterruptedError):
            await engine.arun(job(tmp_path), stop=stop)
        assert ids(failures(tmp_path)) == ["q1"]
        saved = (tmp_path / "scratch" / "out.jsonl").read_bytes()
        with pytest.raises(ConfigError, match="was interrupted.*Run the same again without retry_failures"):
            await FakeEngine().arun(job(tmp_path, retry_failures=True))
        assert (tmp_path / "scratch" / "out.jsonl").read_bytes() == saved
        again = FakeEngine()
        await again.arun(job(tmp_path))
        assert "question 0" not in again.asked
        assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]

    async def test_call_that_raised_has_written_no_output(self, tmp_path: Path) -> None:
        config = InferenceConfig(output_path=tmp_path / "out.jsonl")
        with pytest.raises(InferenceFailedError):
            await FakeEngine(rejecting(1)).ainfer(questions(4), config)
        with pytest.raises(ConfigError, match="has not written its output"):
            await FakeEngine().arun(job(tmp_path, retry_failures=True))
        engine = FakeEngine()
        await engine.ainfer(questions(4), config)
        assert set(engine.asked) == {"question 1"}

    async def test_older_output_is_not_mixed_with_new_answers(self, tmp_path: Path) -> None:
        await run_first(tmp_path, rows=3)
        other = job(tmp_path, generation={"seed": 7})
        await FakeEngine(rejecting(0, 1, 2)).arun(other)
        with pytest.raises(ConfigError, match=r"out.jsonl has 3 rows, but the run that wrote .* had 0 answers"):
            await FakeEngine().arun(other.model_copy(update={"retry_failures": True}))
        assert len(read_jsonl(tmp_path / "out.jsonl")) == 3

    async def test_output_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        (tmp_path / "out.jsonl").unlink()
        with pytest.raises(ConfigError, match="has 0 rows"):
            await FakeEngine().arun(config)
        await FakeEngine().arun(job(tmp_path))
        assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]

    async def test_saved_rows_of_a_later_run_are_kept(self, tmp_path: Path) -> None:
        config, stop = await run_first(tmp_path, 2), Stop(grace=0)
        write_jsonl(tmp_path / "in.jsonl", questions(20))
        old = failures(tmp_path).read_bytes()
        engine = FakeEngine(lambda text, _: stop.request() if text == "question 15" else None, workers=1)
        with pytest.raises(RunInterruptedError):
            await engine.arun(job(tmp_path), stop=stop)
        failures(tmp_path).write_bytes(old)  # As if the run had been killed.
        await FakeEngine().arun(config)
        again = FakeEngine()
        await again.arun(job(tmp_path, reuse_output=True))
        assert 0 < len(again.asked) < 7
        assert len(read_jsonl(tmp_path / "out.jsonl")) == 20


async def test_retry_that_was_killed_before_the_merge_sends_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = await run_first(tmp_path, 2, 5)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RetryMerge, "match", killed)
        with pytest.raises(Killed):
            await FakeEngine().arun(config)
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert not engine.asked
    assert (summary.completed, summary.failed) == (2, 0)
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


class Paid(FakeEngine):
    """Its failed attempts use tokens."""

    async def _generate(self, conversation: Conversation) -> Completion:
        try:
            return await super()._generate(conversation)
        except RequestError as error:
            error.usage = Usage(3, 4, 7)
            raise


@pytest.mark.parametrize("answered", [True, False])
async def test_limit_on_tokens_counts_failed_rows_of_each_run_once(tmp_path: Path, *, answered: bool) -> None:
    priced = {"cost_per_million": {"input": 1, "output": 2}, "generation": {"max_new_tokens": 10}}
    failing = (0, 1, 2) if answered else range(10)
    write_jsonl(tmp_path / "in.jsonl", questions(10))
    await Paid(rejecting(*failing)).arun(job(tmp_path, **priced))
    retry, spent = job(tmp_path, **priced, retry_failures=True), 70
    for failing in ((0, 1), (0, 1)) if answered else (range(10), range(9)):
        engine = Paid(rejecting(*failing))
        await engine.arun(retry)
        spent += 7 * engine.asked.total()
    for again in (retry, retry, job(tmp_path, **priced)):
        with pytest.raises(SpendingLimitError, match=f"So far, {spent} tokens"):
            await FakeEngine().arun(again.model_copy(update={"max_tokens": spent}))
    await FakeEngine().arun(job(tmp_path, **priced))
    assert names(tmp_path) == {"in.jsonl", "out.jsonl"}


async def test_limit_counts_failed_rows_of_an_interrupted_retry(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 1)
    settings = {"generation": {"max_new_tokens": 10}}
    limited = InferenceConfig.model_validate({**config.model_dump(exclude_unset=True), **settings, "max_tokens": 500})
    with pytest.raises(SpendingLimitError):
        await Paid(rejecting(0), workers=1).arun(limited.model_copy(update={"max_tokens": 56 + 345}))
    with pytest.raises(SpendingLimitError, match="So far, 63 tokens"):
        await FakeEngine().arun(limited.model_copy(update={"max_tokens": 63}))


async def test_limit_on_tokens_counts_the_first_run(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 1)
    spent = 8 * 7
    settings = {"generation": {"max_new_tokens": 10}, "retry_failures": True}
    limited = InferenceConfig.model_validate({**config.model_dump(exclude_unset=True), **settings, "max_tokens": 400})
    await FakeEngine(rejecting(0, 1)).arun(limited.model_copy(update={"max_tokens": spent + 800}))
    with pytest.raises(SpendingLimitError):
        await FakeEngine().arun(limited.model_copy(update={"max_tokens": spent + 300}))


@pytest.mark.parametrize("setting", ["progress_path", "report_path"])
async def test_output_is_no_other_file_of_the_retry(setting: str, tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2)
    with pytest.raises(ConfigError, match=f"{setting} and output_path are the same file"):
        await FakeEngine().arun(config.model_copy(update={setting: config.output_path}))
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 9


async def test_retry_is_estimated_by_its_own_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 3, 4, 5)
    engine = FakeEngine()
    estimate = await engine.aestimate(None, config, rows=2)
    assert (estimate.rows, estimate.left, estimate.pilot_rows) == (4, 2, 2)
    await engine.arun(config)
    assert engine.asked.total() == 4
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_estimate_of_a_retry_names_failed_rows_by_their_place_in_the_job(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 3, 7)
    estimate = await FakeEngine(rejecting(7)).aestimate(None, config, rows=2)
    assert [row for row, _ in estimate.failures] == [7]


class TestOtherMethods:
    """Only `arun` and `aestimate` try failed rows again. Other methods say so."""

    async def test_methods_for_many_rows_refuse_it(self) -> None:
        engine, config = FakeEngine(), InferenceConfig(retry_failures=True)
        with pytest.raises(
            ConfigError, match=r"retry_failures: only arun, aestimate and their twins .*call arun\(config\)"
        ):
            await engine.ainfer(questions(1), config)
        with pytest.raises(ConfigError, match="call arun"):
            await engine.ainfer(questions(2), config)
        with pytest.raises(ConfigError, match="call arun"):
            await engine.ainfer_partial(questions(2), config)
        with pytest.raises(ConfigError, match="call arun"):
            [outcome async for outcome in engine.ainfer_iter(questions(2), config)]
        assert not engine.asked

    async def test_single_calls_ignore_it_as_all_settings_of_runs(self) -> None:
        answered = await FakeEngine().agenerate("a", InferenceConfig(retry_failures=True))
        assert isinstance(answered, Conversation)
