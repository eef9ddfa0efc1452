"""examples/plugin_engine: an engine of one's own, registered in a program and by a package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from asyncinfer import InferenceConfig, InferenceErrorType, ModelParams
from tests.examples.programs import EXAMPLES, HANG_GUARD, REPOSITORY, environment, load, run_program

FOLDER = EXAMPLES / "plugin_engine"
echo = load("plugin_engine/echo_engine.py")
ECHO = echo.EchoInferenceEngine(ModelParams(model_name="parrot"))


async def test_answer_comes_in_parts() -> None:
    async with ECHO.astream("one two") as stream:
        parts = [delta.content async for delta in stream]
    assert parts == ["one", " two", ""]


async def test_row_without_words_fails_alone() -> None:
    result = await ECHO.ainfer_partial(["one", " "])
    assert [answered.text for _, answered in result.successful] == ["one"]
    assert result.failures[1].error_type is InferenceErrorType.CONFIG


async def test_unsupported_setting_is_reported() -> None:
    answered = await ECHO.agenerate("one", InferenceConfig.from_str("generation: {seed: 1}"))
    assert answered.metadata["dropped_parameters"] == ["seed"]


@pytest.mark.slow
async def test_program_registers_the_engine() -> None:
    printed = await run_program("plugin_engine/echo_engine.py")
    assert [line.split(" {")[0] for line in printed.splitlines()] == ["Hello there! stop", "one two three length"]


@pytest.mark.slow
def test_installed_package_adds_the_engine_to_the_command_line(tmp_path: Path) -> None:
    """The metadata is what pip writes for the entry points in pyproject.toml."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "asyncinfer_echo-0.1.0.dist-info"
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    [(group, points)] = project["entry-points"].items()
    lines = [f"{name} = {target}" for name, target in points.items()]
    metadata.joinpath("entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))

    command = [sys.executable, "-m", "asyncinfer", "infer", "-i", "--engine", "ECHO", "--model.model_name", "parrot"]
    path = f"{REPOSITORY}:{tmp_path}:{FOLDER}"
    done = subprocess.run(
        command,
        input="Hello there!\n",
        capture_output=True,
        text=True,
        timeout=HANG_GUARD,
        env=environment(PYTHONPATH=path),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello there!" in done.stdout
