"""`progress=True` shows a progress bar on a terminal and in a notebook, and nothing elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import nbformat
import pytest
from nbclient import NotebookClient

from asyncinfer import InferenceConfig, Progress
from asyncinfer.display import progress_bar
from asyncinfer.display.shown_progress import shown_progress
from tests.cli.terminal import all_shown
from tests.fakes import FakeEngine, questions, write_jsonl

ROOT = Path(__file__).parents[2]
RUN = "from tests.fakes import FakeEngine, questions\n"


class RecordingView:
    """A progress view that records the updates, and shows nothing."""

    def __init__(self) -> None:
        self.shown: list[Progress] = []
        self.is_closed = False

    def update(self, progress: Progress) -> None:
        self.shown.append(progress)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> RecordingView:
    view = RecordingView()
    monkeypatch.setattr(progress_bar, "open_view", lambda: view)
    return view


class TestMethods:
    async def test_every_async_method_shows_its_progress_and_reports_it_too(
        self, view: RecordingView, tmp_path: Path
    ) -> None:
        engine, reported = FakeEngine(), list[Progress]()
        write_jsonl(tmp_path / "in.jsonl", questions(3))
        job = InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))
        await engine.ainfer(questions(3), on_progress=reported.append, progress=True)
        await engine.ainfer_partial(questions(3), on_progress=reported.append, progress=True)
        await engine.arun(job, on_progress=reported.append, progress=True)
        async with engine.ainfer_iter(questions(3), on_progress=reported.append, progress=True) as rows:
            assert len([row async for row in rows]) == 3
        assert [one.completed for one in view.shown if one.state == "finished"] == [3] * 4
        assert view.shown == reported
        assert view.is_closed

    async def test_callback_may_be_async(self, view: RecordingView) -> None:
        reported: list[int] = []

        async def report(progress: Progress) -> None:
            await anyio.lowlevel.checkpoint()
            reported.append(progress.completed)

        await FakeEngine().ainfer(questions(3), on_progress=report, progress=True)
        assert reported[-1] == 3

    async def test_one_row_has_a_progress_too(self, view: RecordingView) -> None:
        await FakeEngine().ainfer(questions(1), progress=True)
        assert view.shown[-1].completed == 1

    async def test_nothing_is_shown_by_default(self, view: RecordingView) -> None:
        await FakeEngine().ainfer(questions(3))
        assert not view.shown

    async def test_display_is_closed_when_the_run_is_cancelled(self, view: RecordingView) -> None:
        async def wait(text: str, attempt: int) -> None:
            await anyio.sleep_forever()

        with anyio.move_on_after(0.1):
            await FakeEngine(lambda text, attempt: wait(text, attempt)).ainfer(questions(3), progress=True)
        assert view.is_closed

    async def test_display_is_closed_when_its_consumer_stops(self, view: RecordingView) -> None:
        async with FakeEngine().ainfer_iter(iter(questions(100)), progress=True) as rows:
            async for _ in rows:
                break
        assert view.is_closed

    def test_blocking_twins_show_their_progress(self, view: RecordingView, tmp_path: Path) -> None:
        engine = FakeEngine()
        write_jsonl(tmp_path / "in.jsonl", questions(3))
        job = InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))
        engine.infer(questions(3), progress=True)
        engine.infer_partial(questions(3), progress=True)
        engine.run(job, progress=True)
        assert len(list(engine.infer_iter(questions(3), progress=True))) == 3
        assert [one.completed for one in view.shown if one.state == "finished"] == [3] * 4

    async def test_error_of_the_run_is_raised_unchanged(self, view: RecordingView) -> None:
        with pytest.raises(ValueError, match="mine"):
            async with shown_progress(True, None):
                raise ValueError("mine")
        assert view.is_closed


def run(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN + code]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=True, **options)


def on_a_terminal(code: str, *, stdout: int | None = None) -> str:
    """Run a program whose stderr is a pseudo-terminal, and return what that shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", RUN + code]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stdout or theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = all_shown(ours)
        assert process.wait(60) == 0, shown
    os.close(ours)
    return shown


class TestTerminal:
    def test_bar_ends_with_the_counts_of_the_run(self) -> None:
        shown = on_a_terminal("FakeEngine().infer(questions(7), progress=True)")
        assert "━━━" in shown
        assert "7/7" in shown
        assert "28 tokens" in shown
        assert shown.rstrip().endswith("\x1b[?25h"), "the cursor is shown again"

    def test_runs_at_the_same_time_have_a_bar_each(self) -> None:
        code = """
import asyncio
async def main():
    engine = FakeEngine(lambda text, attempt: asyncio.sleep(0.5))
    await asyncio.gather(*(engine.ainfer(questions(n), progress=True) for n in (3, 4)))
    await engine.ainfer(questions(5), progress=True)
asyncio.run(main())
"""
        first, second, _ = on_a_terminal(code).split("\x1b[?25h")  # which shows the cursor again
        last_picture = first.rpartition("\x1b[2K")[2]
        assert ("3/3" in last_picture, "4/4" in last_picture) == (True, True)
        assert "5/5" in second

    def test_prints_to_a_file_stay_in_the_file(self, tmp_path: Path) -> None:
        code = """
for index, _ in FakeEngine().infer_iter(questions(3), progress=True):
    print("row")
"""
        with (tmp_path / "out").open("w") as file:
            shown = on_a_terminal(code, stdout=file.fileno())
        assert (tmp_path / "out").read_text() == "row\n" * 3
        assert "row\r\n" not in shown

    def test_nothing_is_shown_in_a_file(self) -> None:
        done = run(
            "print(len(FakeEngine().infer(questions(7), progress=True)))", env={**os.environ, "FORCE_COLOR": "1"}
        )
        assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.slow
def test_notebook_shows_one_bar_that_is_updated_in_place(tmp_path: Path) -> None:
    cells = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + RUN,
        "answers = await FakeEngine().ainfer(questions(7), progress=True)",
        "answers = FakeEngine().infer(questions(8), progress=True)",
        "answers[0]",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    for cell, count in zip(notebook.cells[1:3], ("7/7", "8/8"), strict=True):
        [output] = cell.outputs
        assert output.output_type == "display_data"
        assert "━" in output.data["text/html"]
        assert count in output.data["text/plain"]
    [answer] = notebook.cells[3].outputs
    assert answer.data["text/markdown"].startswith("#### user")
    assert answer.data["text/plain"].startswith("Conversation(conversation_id='q0', messages=[")
