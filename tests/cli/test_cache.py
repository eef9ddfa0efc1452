"""`asyncinfer cache`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncinfer.cli.app import app
from asyncinfer.scratch.answer_store import AnswerStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite3"


def test_info_and_clear(path: Path) -> None:
    store = AnswerStore(path)
    store.put([(bytes(16), n, b"answer") for n in range(3)])
    store.close()
    shown = CliRunner().invoke(app, ["cache", "info", "--cache_path", str(path)])
    assert shown.exit_code == 0
    lines = dict(line.split(None, 1) for line in shown.stdout.splitlines())
    assert lines["file"] == str(path)
    assert lines["answers"] == "3"
    cleared = CliRunner().invoke(app, ["cache", "clear", "--cache-path", str(path)])
    assert cleared.exit_code == 0
    assert cleared.stdout == f"3 answers removed from {path}\n"
    assert "answers  0" in CliRunner().invoke(app, ["cache", "info", "--cache_path", str(path)]).stdout


def test_missing_cache_is_empty(path: Path) -> None:
    shown = CliRunner().invoke(app, ["cache", "info", "--cache_path", str(path)])
    assert (shown.exit_code, shown.stdout) == (0, f"file     {path}\nanswers  0\n")
    assert CliRunner().invoke(app, ["cache", "clear", "--cache_path", str(path)]).exit_code == 0
    assert not path.exists()


def test_cache_that_cannot_be_opened_is_an_error(path: Path) -> None:
    path.mkdir()
    assert CliRunner().invoke(app, ["cache", "info", "--cache_path", str(path)]).exit_code == 3
    assert CliRunner().invoke(app, ["cache", "clear", "--cache_path", str(path)]).exit_code == 3
