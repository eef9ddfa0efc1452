"""Settings with dotted paths on the command line, whose values may begin with a dash."""

from __future__ import annotations

import pytest

from asyncinfer.cli.commands.dotted_paths import joined_settings
from tests.cli.conftest import Job
from tests.fakes import read_jsonl

OPTIONS = {"-c": True, "--config": True, "-i": False, "-v": False, "--verbose": False}


@pytest.mark.parametrize(
    ("args", "joined"),
    [
        (["--a.b", "- item {{ x }}"], ["--a.b=- item {{ x }}"]),
        (["--a.b", "-item {{ x }}"], ["--a.b=-item {{ x }}"]),
        (["--a.b", "-1", "-v"], ["--a.b=-1", "-v"]),
        (["--a.b", "-"], ["--a.b=-"]),
        (["--a.b", "--- x"], ["--a.b=--- x"]),
        (["--a.b=- x", "-c", "f"], ["--a.b=- x", "-c", "f"]),
        (["--a.b", "-c", "f"], ["--a.b", "-c", "f"]),
        (["--a.b", "-cf"], ["--a.b", "-cf"]),
        (["--a.b", "-iv"], ["--a.b", "-iv"]),
        (["--a.b", "--verbose"], ["--a.b", "--verbose"]),
        (["--a.b", "--config=f"], ["--a.b", "--config=f"]),
        (["--a.b", "--a.c", "1"], ["--a.b", "--a.c=1"]),
        (["--a.b"], ["--a.b"]),
        (["-c", "--a.b", "stray"], ["-c", "--a.b", "stray"]),
        (["-vc", "--a.b", "stray"], ["-vc", "--a.b", "stray"]),
        (["--config", "--a.b", "stray"], ["--config", "--a.b", "stray"]),
        (["--a.b", "--", "-x", "--a.c", "1"], ["--a.b", "--", "-x", "--a.c", "1"]),
        (["id", "--a.b", "1"], ["id", "--a.b=1"]),
    ],
)
def test_setting_and_its_value_become_one_argument(args: list[str], joined: list[str]) -> None:
    assert joined_settings(args, OPTIONS) == joined


@pytest.mark.parametrize(
    ("args", "prompt"),
    [
        (["--input.prompt", "- item {{ text }}"], "- item a"),
        (["--input.prompt", "-item {{ text }}"], "-item a"),
        (["--input.prompt", "--- {{ text }}"], "--- a"),
        (["--input.prompt=- item {{ text }}"], "- item a"),
        (["--input.prompt=-e {{ text }}"], "-e a"),
        (["--input.prompt=--verbose {{ text }}"], "--verbose a"),
    ],
)
def test_prompt_may_begin_with_a_dash(job: Job, args: list[str], prompt: str) -> None:
    (job.folder / "in.csv").write_text("text\na\n")
    done = job.run("--input_path", str(job.folder / "in.csv"), *args)
    assert done.code == 0, done.err
    [row] = read_jsonl(job.output)
    assert row["messages"][0]["content"] == prompt


def test_text_that_looks_like_an_option_needs_an_equals_sign(job: Job) -> None:
    done = job.run("--input.prompt", "-v")
    assert done.code == 2
    assert "--input.prompt has no value; if the value begins with a dash, write --input.prompt=VALUE" in done.err
    assert job.requests() == []
