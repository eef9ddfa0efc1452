"""The report of a run, and its saved events."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from asyncinfer import (
    ConfigError,
    InferenceConfig,
    InputError,
    MissingDependencyError,
    RunInterruptedError,
    ScratchError,
    Stop,
)
from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.app import app
from asyncinfer.report import page, recorder, write_report
from asyncinfer.report.facts import cards_of
from asyncinfer.report.record import RunRecord
from asyncinfer.report.storage import save_record
from asyncinfer.scratch import disk
from tests.fakes import FakeClock, FakeEngine, question, questions, rejection, write_jsonl
from tests.report.reports import figures_of, record_in, run_hostile_job, settings


async def test_finished_run_has_a_report_and_saved_events(tmp_path: Path) -> None:
    report = await run_hostile_job(tmp_path)
    record = await record_in(tmp_path)
    assert (record.state, record.counts.total, record.counts.completed, record.counts.failed) == ("finished", 20, 18, 2)
    assert (record.counts.refused, record.counts.attempts) == (4, 24)
    assert record.finish_reasons == {"stop": 18}
    assert {(kind.status_code, kind.count) for kind in record.failures.kinds} == {(400, 2)}
    assert {(kind.status_code, kind.count) for kind in record.attempt_errors.kinds} == {(400, 2), (429, 4)}
    assert record.latencies.total.count == record.answer_tokens.count == 18
    assert sum(one.finished for one in record.slices.slices) == 18
    assert {sample.row for sample in record.samples} <= set(range(20)) - {3, 7}
    assert len(record.samples) == 8
    assert record.samples[0].messages[-1].text == "answer to question 0"
    text = report.read_text()
    assert set(figures_of(text)) == {"rows", "permits", "requests", "latency", "tokens", "lengths", "finish"}
    assert "out.jsonl.failures.jsonl" in text


async def test_duplicates_and_cached_rows_are_in_the_report(tmp_path: Path) -> None:
    more = {"cache": True, "cache_path": str(tmp_path / "answers.sqlite3")}
    await FakeEngine().ainfer(questions(2), InferenceConfig.model_validate(more))
    rows = [*questions(4), question("question 3")]
    await FakeEngine().ainfer_partial(rows, settings(tmp_path, **more))
    record = await record_in(tmp_path)
    counts = record.counts
    assert (counts.completed, counts.cached, counts.deduplicated, counts.attempts) == (5, 2, 1, 2)
    cards = {card.name: card for card in cards_of(record.model_copy(update={"seconds": 4.0}))}
    assert cards["rows not sent"] == ("rows not sent", "3", "1 duplicates, 2 from the cache")
    assert cards["time"].note == "0.5 rows/s"
    assert "1 duplicates, 2 from the cache" in (tmp_path / "report.html").read_text()


async def test_report_without_duplicates_and_cached_rows_does_not_mention_them(tmp_path: Path) -> None:
    await FakeEngine().ainfer_partial(questions(2), settings(tmp_path))
    assert "rows not sent" not in {card.name for card in cards_of(await record_in(tmp_path))}


async def test_retry_of_failed_rows_names_the_rows_of_the_job(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(5))

    def reject(text: str, _: int) -> None:
        if text in ("question 3", "question 4"):
            raise rejection()

    files = {"input_path": tmp_path / "in.jsonl", "output_path": tmp_path / "out.jsonl"}
    await FakeEngine(reject).arun(InferenceConfig(**files))
    report = tmp_path / "report.html"
    await FakeEngine(reject).arun(InferenceConfig(**files, retry_failures=True, report_path=report))
    text = report.read_text()
    assert "row 3" in text.lower()
    assert "row 0" not in text.lower()


async def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    await FakeEngine().ainfer_partial(questions(3), InferenceConfig(output_path=tmp_path / "out.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


async def test_interrupted_run_has_a_report_with_samples(tmp_path: Path) -> None:
    stop = Stop(grace=0)
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 5" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.ainfer_partial(questions(200), settings(tmp_path), stop=stop)
    record = await record_in(tmp_path)
    assert record.state == "interrupted"
    assert 0 < record.counts.completed < 200
    assert record.samples
    assert "interrupted" in (tmp_path / "report.html").read_text()


async def test_run_that_was_cancelled_has_a_report(tmp_path: Path) -> None:
    started = anyio.Event()

    async def script(text: str, _: int) -> None:
        if text == "question 2":
            started.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(FakeEngine(script, workers=1).ainfer_partial, questions(5), settings(tmp_path))
        await started.wait()
        tasks.cancel_scope.cancel()
    assert (await record_in(tmp_path)).state == "interrupted"
    assert (tmp_path / "report.html").exists()


async def test_failed_run_has_a_report_with_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = disk.write

    def full(fd: int, data: bytes) -> int:
        if b"answer to" in bytes(data) and b'"crc"' in bytes(data):
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(disk, "write", full)
    engine = FakeEngine()
    with pytest.raises(ScratchError):
        await engine.ainfer_partial(questions(3), settings(tmp_path))
    assert (await record_in(tmp_path)).state == "failed"
    assert "No space left on device" in (tmp_path / "report.html").read_text()


async def test_next_run_lists_the_run_that_did_not_finish(tmp_path: Path) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 1":
            raise rejection()

    await FakeEngine(script).ainfer_partial(questions(3), settings(tmp_path))
    await FakeEngine().ainfer_partial(questions(3), settings(tmp_path))
    record = await record_in(tmp_path)
    assert [(run.state, run.completed, run.failed) for run in record.earlier] == [("finished", 2, 1)]
    assert (record.counts.completed, record.counts.resumed) == (3, 2)
    await FakeEngine().ainfer_partial(questions(3), settings(tmp_path))
    assert (await record_in(tmp_path)).earlier == []


async def test_events_of_a_running_job_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, saved, states = asyncio.get_running_loop(), anyio.Event(), list[str]()

    def save(record: RunRecord, path: Path) -> None:
        save_record(record, path)
        loop.call_soon_threadsafe(saved.set)

    async def script(*_: object) -> None:
        await saved.wait()
        states.append((await record_in(tmp_path)).state)

    monkeypatch.setattr(recorder, "save_record", save)
    await FakeEngine(script).ainfer_partial(questions(2), settings(tmp_path))
    assert states == ["running", "running"]


async def test_size_of_the_events_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    sizes: list[int] = []
    for rows in (200, 4_000):
        folder = tmp_path / str(rows)
        await FakeEngine(workers=100).ainfer_partial(questions(rows), settings(folder, report_path=None))
        sizes.append((folder / "out.jsonl.events.json").stat().st_size)
    assert sizes[1] < sizes[0] + 20_000


async def test_report_has_the_settings_without_secrets(tmp_path: Path) -> None:
    engine = FakeEngine(api_key="sk-very-secret", headers={"Authorization": "Bearer hidden-token"})
    config = settings(tmp_path, generation={"temperature": 0.25, "extra_body": {"api_key": "another-secret"}})
    await engine.ainfer_partial(questions(2), config)
    record, text = await record_in(tmp_path), (tmp_path / "report.html").read_text()
    assert "temperature: 0.25" in record.settings
    assert "num_workers: 8" in record.settings
    for secret in ("sk-very-secret", "hidden-token", "another-secret"):
        assert secret not in record.model_dump_json()
        assert secret not in text


async def test_permits_and_pace_follow_the_controller(tmp_path: Path) -> None:
    clock = FakeClock()
    engine = FakeEngine(
        lambda *_: clock.sleep(1),
        workers=40,
        clock=clock,
        use_adaptive_concurrency=True,
        adaptive={"min_update_time": 1},
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await engine.ainfer_partial(questions(400), settings(tmp_path))
        tasks.cancel_scope.cancel()
    record = await record_in(tmp_path)
    assert record.permits == 22
    assert [one.permits for one in record.slices.slices if one.permits is not None][-1] > 22
    values = figures_of((tmp_path / "report.html").read_text())["permits"]["data"][0]["y"]
    assert values == sorted(values)


async def test_iterated_run_has_a_report(tmp_path: Path) -> None:
    async with FakeEngine().ainfer_iter(questions(5), settings(tmp_path)) as outcomes:
        assert len([index async for index, _ in outcomes]) == 5
    assert (await record_in(tmp_path)).counts.completed == 5
    assert (tmp_path / "report.html").exists()


async def test_single_row_has_a_report(tmp_path: Path) -> None:
    await FakeEngine().ainfer(questions(1), InferenceConfig(report_path=tmp_path / "report.html"))
    assert "1" in (tmp_path / "report.html").read_text()


async def test_report_path_that_names_the_output_is_an_error(tmp_path: Path) -> None:
    engine = FakeEngine()
    with pytest.raises(ConfigError, match="report_path and output_path are the same file|output_path and report_path"):
        await engine.ainfer_partial(questions(2), settings(tmp_path, report_path=str(tmp_path / "out.jsonl")))
    assert not engine.asked


async def test_saved_events_need_an_output(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="save_events: set output_path too"):
        await FakeEngine().ainfer(questions(2), InferenceConfig(save_events=True))


async def test_missing_package_is_an_error_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingDependencyError("plotly", "report")

    monkeypatch.setattr(recorder, "check_packages", missing)
    engine = FakeEngine()
    with pytest.raises(MissingDependencyError, match=r"asyncinfer\[report\]"):
        await engine.ainfer_partial(questions(2), settings(tmp_path))
    assert not engine.asked


async def test_report_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, "save_page", full)
    with caplog.at_level(logging.WARNING):
        result = await FakeEngine().ainfer_partial(questions(2), settings(tmp_path))
    assert len(result.successful) == 2
    assert "report.html cannot be written: No space left on device" in caplog.text


async def test_report_is_written_from_saved_events(tmp_path: Path) -> None:
    await run_hostile_job(tmp_path)
    for source in ("out.jsonl", "out.jsonl.events.json"):
        await DISK.run(write_report, tmp_path / source, tmp_path / "again.html")
        assert (tmp_path / "again.html").read_text() == (tmp_path / "report.html").read_text()


async def test_command_writes_the_report(tmp_path: Path) -> None:
    await run_hostile_job(tmp_path)
    done = await DISK.run(CliRunner().invoke, app, ["report", str(tmp_path / "out.jsonl")])
    assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / "out.jsonl.report.html"))
    assert (tmp_path / "out.jsonl.report.html").exists()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00\xff", b'{"messages": []}\n'])
def test_file_without_events_is_an_input_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "out.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="--save-events"):
        write_report(path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_events_path_that_is_a_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        write_report(tmp_path, tmp_path / "report.html")


async def test_page_escapes_texts_and_allows_only_its_own_scripts(tmp_path: Path) -> None:
    text = (await run_hostile_job(tmp_path)).read_text()
    assert "<script>document" not in text
    assert "<img" not in text
    assert "&lt;script&gt;document" in text
    assert "\0" not in text
    assert "\x1b" not in text
    assert text.count("sha256-") == 2
    assert "default-src &#39;none&#39;" in text


def test_page_holds_the_plotting_library_compressed() -> None:
    assert len(page._plotly().compressed) < 2_500_000
