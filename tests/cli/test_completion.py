"""Shells complete commands, options, engines and examples. Everything else, they complete as files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from asyncinfer.cli.app import app
from asyncinfer.cli.completion import complete_config, complete_engine
from tests.cli.conftest import ROOT


def completed(line: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    words = line.split(" ")
    variables = {"_ASYNCINFER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, env=variables, prog_name="asyncinfer").stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asyncinfer a", ["ask"]),
        ("asyncinfer ask --max", ["--max-tokens"]),
        ("asyncinfer ask -e anth", ["anthropic"]),
        ("asyncinfer ask -e ANTH", ["ANTHROPIC"]),
        ("asyncinfer infer -c quick", ["quickstart"]),
        ("asyncinfer serve -c quick", ["quickstart"]),
        ("asyncinfer serve --log-format j", ["json"]),
        ("asyncinfer infer -e anth", ["anthropic"]),
        ("asyncinfer ask --schema ", []),
        ("asyncinfer ask --log-level w", ["warning"]),
    ],
)
def test_shell_completes_the_last_word(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_engines_are_completed_in_any_case() -> None:
    assert complete_engine("GOOGLE_") == ["GOOGLE_VERTEX", "GOOGLE_GEMINI"]
    assert len(complete_engine("")) > 15


def test_files_are_offered_until_an_example_fits() -> None:
    assert complete_config("") == []
    assert complete_config("no-such") == []


def test_help_loads_no_engine() -> None:
    code = "import sys, asyncinfer.cli.app; print({'aiohttp', 'prompt_toolkit', 'asyncinfer.engines.base'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
