"""`asyncinfer engines` and `asyncinfer --version`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from asyncinfer import InferenceEngineType
from asyncinfer.engines.registry import ENGINES
from tests.cli.conftest import ROOT, Completed, environment, run_command


def run(*args: str, code: int = 0, **variables: str) -> Completed:
    done = run_command(args, {**environment(), **variables}, scripted=False)
    assert done.code == code, done.err
    return done


def test_engines_lists_every_engine() -> None:
    shown = run("engines").out
    for name, entry in ENGINES.items():
        assert InferenceEngineType(name).name in shown
        assert entry.extra is None or entry.extra in shown
    assert "temperature" in shown
    assert "\x1b" not in shown


def test_engines_fit_a_narrow_terminal_and_say_whether_the_key_is_set() -> None:
    shown = run("engines", COLUMNS="80", OPENAI_API_KEY="sk-secret", ANTHROPIC_API_KEY="").out
    assert max(map(len, shown.splitlines())) <= 80
    assert "OPENAI_API_KEY: set" in shown
    assert "ANTHROPIC_API_KEY: not set" in shown
    assert "sk-secret" not in shown


def test_engines_lists_plug_ins_and_names_those_that_cannot_be_loaded(tmp_path: Path) -> None:
    info = tmp_path / "my_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.2\n")
    points = "mine = asyncinfer.engines.base:BaseInferenceEngine\nbroken = my_missing_module:Engine\n"
    (info / "entry_points.txt").write_text(f"[asyncinfer.engines]\n{points}")
    # In a new process, because PYTHONPATH is read at the start.
    command = [sys.executable, "-m", "asyncinfer", "engines"]
    variables = {**environment(), "PYTHONPATH": str(tmp_path)}
    shown = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout
    assert "plug-in MINE: my-plugin 1.2 (asyncinfer.engines.base:BaseInferenceEngine)" in shown
    assert "plug-in BROKEN: my-plugin 1.2: cannot be loaded: ModuleNotFoundError" in shown


def test_engines_markdown_prints_one_row_per_provider() -> None:
    lines = run("engines", "--markdown").out.splitlines()
    assert lines[0].startswith("| engine | class | key | extra | tools |")
    assert len(lines) == 2 + len([entry for entry in ENGINES.values() if "hosted" in entry.class_path])
    [bedrock] = [line for line in lines if line.startswith("| `BEDROCK` |")]
    assert "| `BedrockInferenceEngine` | AWS credentials, or `AWS_BEARER_TOKEN_BEDROCK` | `bedrock` | yes |" in bedrock


def test_write_replaces_only_the_text_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(b"before\r\n<!-- engines: begin -->\nold\n<!-- engines: end -->\nafter \xff")
    assert run("engines", "--markdown", "--write", str(path)).out == ""
    table = run("engines", "--markdown").out.encode()
    expected = b"before\r\n<!-- engines: begin -->\n" + table + b"<!-- engines: end -->\nafter \xff"
    assert path.read_bytes() == expected
    run("engines", "--markdown", "--write", str(path))
    assert path.read_bytes() == expected


def test_write_into_a_file_without_marks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("<!-- engines: end -->\n<!-- engines: begin -->\n")
    failed = run("engines", "--markdown", "--write", str(path), code=2)
    assert f"{path}: contains no line <!-- engines: begin --> with a line <!-- engines: end --> after it" in failed.err
    assert path.read_text() == "<!-- engines: end -->\n<!-- engines: begin -->\n"


def test_write_into_a_missing_file_is_an_error(tmp_path: Path) -> None:
    failed = run("engines", "--markdown", "--write", str(tmp_path / "missing.md"), code=2)
    assert "missing.md: cannot be changed: No such file or directory" in failed.err


def test_write_without_markdown_is_an_error(tmp_path: Path) -> None:
    assert "needs --markdown" in run("engines", "--write", str(tmp_path / "README.md"), code=2).err


def test_version_is_printed() -> None:
    assert run("--version").out.strip()[0].isdigit()
