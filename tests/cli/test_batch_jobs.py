"""`asyncinfer batch`: its output, exit codes and messages."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from anyio import to_thread
from typer.testing import CliRunner

from asyncinfer import InferenceConfig, InputError, InputParams
from asyncinfer.cli import batch_jobs
from asyncinfer.cli.app import app
from asyncinfer.errors import ConfigError, RequestError
from tests.batch.server import BatchServer, Faults, failed
from tests.conftest import BlockWatch
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl


@pytest.fixture
async def server(block_watch: BlockWatch) -> AsyncIterator[BatchServer]:
    block_watch.off()  # The server reads files on the loop of the test.
    async with BatchServer() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, server: BatchServer) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(3))
    text = f"""
        engine: REMOTE
        model: {{model_name: m}}
        remote_params: {{api_url: {server.url}}}
        batch: {{poll_interval: 0.01}}
        input_path: {tmp_path}/in.jsonl
        output_path: {tmp_path}/out.jsonl
    """
    return InferenceConfig.from_str(text)


def answers(tmp_path: Path) -> list[str]:
    return [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]


async def test_run_answers_the_file_with_a_job(
    config: InferenceConfig, server: BatchServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await batch_jobs.run_jobs(config) == 0
    assert answers(tmp_path) == [answer_to(f"question {i}") for i in range(3)]
    assert len(server.jobs) == 1
    assert "3 of 3 finished" in capsys.readouterr().err


async def test_run_needs_an_output(config: InferenceConfig) -> None:
    with pytest.raises(ConfigError, match="give --input_path FILE and --output_path FILE"):
        await batch_jobs.run_jobs(config.model_copy(update={"output_path": None}))


async def test_job_is_submitted_shown_and_written(
    config: InferenceConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await batch_jobs.submit_job(config) == 0
    batch_id = capsys.readouterr().out.strip()
    assert batch_id == "batch_2"
    assert await batch_jobs.show_status(config, batch_id) == 0
    shown = capsys.readouterr().out
    assert re.search(r"state +completed", shown)
    assert "3 of 3 (100 %)" in shown
    assert await batch_jobs.list_jobs(config, None, 20) == 0
    assert re.search(r"batch_2 +completed +3/3 +0 +2023-11-14", capsys.readouterr().out)
    assert await batch_jobs.write_results(config, batch_id) == 0
    assert answers(tmp_path) == [answer_to(f"question {i}") for i in range(3)]


async def test_failed_rows_of_a_job_are_named(
    config: InferenceConfig, server: BatchServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = Faults(result=lambda text, line, _: failed(line, 400, "too long") if text[-1] == "1" else line)
    await batch_jobs.submit_job(config)
    await batch_jobs.show_status(config, "batch_2")
    assert await batch_jobs.write_results(config, "batch_2") == 1
    assert "row 1 failed: HTTP 400: too long" in capsys.readouterr().err
    assert answers(tmp_path) == [answer_to("question 0"), answer_to("question 2")]


async def test_job_is_cancelled(
    config: InferenceConfig, server: BatchServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults.slow_polls = 10
    await batch_jobs.submit_job(config)
    assert await batch_jobs.cancel_job(config, "batch_2") == 0
    assert "batch_2 is cancelled" in capsys.readouterr().err


async def test_more_jobs_are_on_the_next_page(config: InferenceConfig, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        await batch_jobs.submit_job(config)
    capsys.readouterr()
    await batch_jobs.list_jobs(config, None, 2)
    assert "More: asyncinfer batch list --after batch_4" in capsys.readouterr().err
    await batch_jobs.list_jobs(config, "batch_4", 2)
    assert capsys.readouterr().out.count("batch_") == 1


async def test_broken_input_is_an_error_before_anything_is_sent(
    config: InferenceConfig, server: BatchServer, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(InputError, match="the conversation has no messages"):
        await batch_jobs.submit_job(config)
    assert not server.requests


def test_each_command_has_one_line_of_help() -> None:
    shown = CliRunner().invoke(app, ["batch", "--help"], env={"COLUMNS": "100"}).output
    for name in ("run", "submit", "status", "list", "cancel", "results", "local"):
        assert re.search(rf"│ {name} +\w[^│]+\. +│\n", shown), name


def test_error_of_a_command_is_its_exit_code() -> None:
    result = CliRunner().invoke(app, ["batch", "status", "b", "--engine", "REMOTE"])
    assert result.exit_code == 2


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl.gz"])
async def test_results_are_not_written_as_conversations_into_files_of_other_formats(
    config: InferenceConfig, tmp_path: Path, name: str
) -> None:
    changed = config.model_copy(update={"output_path": str(tmp_path / name)})
    with pytest.raises(ConfigError, match="JSONL file of conversations; give such an output, or use"):
        await batch_jobs.write_results(changed, "batch_2")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "command", [lambda config: batch_jobs.write_results(config, "batch_1"), batch_jobs.answer_locally]
)
async def test_output_that_cannot_be_written_is_an_error_before_anything_is_sent(
    command: Callable[[InferenceConfig], Awaitable[int]], config: InferenceConfig, server: BatchServer, tmp_path: Path
) -> None:
    output = tmp_path / "in.jsonl" / "out.jsonl"
    with pytest.raises(ConfigError, match=f"output_path: {output}"):
        await command(config.model_copy(update={"output_path": str(output)}))
    assert not server.requests


async def test_csv_file_with_a_prompt_becomes_parquet_by_a_job(config: InferenceConfig, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,one\n2,two\n")
    rows = {
        "input": InputParams(prompt="{{ text }}"),
        "input_path": str(tmp_path / "in.csv"),
        "output_path": str(tmp_path / "out.parquet"),
    }
    assert await batch_jobs.run_jobs(config.model_copy(update=rows)) == 0
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["answer"]) for row in found] == [("1", answer_to("one")), ("2", answer_to("two"))]


@pytest.mark.parametrize("place", ["before", "after"])
async def test_id_may_come_before_or_after_settings(place: str, server: BatchServer) -> None:
    settings = ["--engine", "REMOTE", "--model.model_name", "m", f"--remote_params.api_url={server.url}"]
    settings += ["--remote_params.num_workers", "4"]
    arguments = ["no-such-job", *settings] if place == "before" else [*settings, "no-such-job"]
    ran = await to_thread.run_sync(CliRunner().invoke, app, ["batch", "status", *arguments])
    assert ran.exit_code == 3
    assert "No batch found" in ran.stderr
    assert server.requests == [("GET", "/v1/batches/no-such-job")]


def test_missing_id_is_an_error() -> None:
    ran = CliRunner().invoke(app, ["batch", "cancel", "--engine", "REMOTE", "--model.model_name", "m"])
    assert ran.exit_code == 2
    assert "id of the job is missing" in ran.stderr


async def test_ids_are_printed_whole_and_with_the_tag(
    config: InferenceConfig, server: BatchServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await batch_jobs.submit_job(config)
    [job] = server.jobs.values()
    server.jobs["batch_" + "7" * 150] = replace(job, id="batch_" + "7" * 150)
    capsys.readouterr()
    await batch_jobs.list_jobs(config, None, 20)
    listed = capsys.readouterr().out
    assert "batch_" + "7" * 150 in listed
    assert listed.count(job.metadata["asyncinfer_job"]) == 2
    await batch_jobs.show_status(config, job.id)
    assert job.metadata["asyncinfer_job"] in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signal_during_a_submission_names_the_tag_and_leaves_no_file(
    config: InferenceConfig,
    server: BatchServer,
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = {*tmp_path.iterdir()}
    server.on_step = lambda step: signal.raise_signal(number) if step == "uploaded" else None
    server.hangs_at = "/batches"
    with pytest.raises(KeyboardInterrupt):
        await batch_jobs.submit_job(config)
    [name] = server.files.values()
    assert f"one with the tag {name.removesuffix('.jsonl')}" in caplog.text
    assert {*tmp_path.iterdir()} == before


async def test_submission_without_a_server_does_not_ask_the_user_to_look_for_the_job(config: InferenceConfig) -> None:
    assert config.remote_params is not None
    config.remote_params.api_url = "http://127.0.0.1:9/v1"
    with pytest.raises(RequestError, match="Cannot connect") as error:
        await batch_jobs.submit_job(config)
    assert "tag" not in str(error.value)
