"""Input files whose lines or encoding are odd."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from asyncinfer import InferenceConfig, InputError
from asyncinfer.aio.tasks import in_slices
from asyncinfer.run.sources import FileSource
from asyncinfer.scratch.atomic import replacing
from asyncinfer.types import lines
from tests.fakes import FakeEngine, question, write_jsonl


def test_a_line_that_is_too_long_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    row = question("a").to_json().encode()
    (tmp_path / "in.jsonl").write_bytes(b"%b\n%b\n%b\n" % (row, b"x" * (3 << 20), row))
    items = list(FileSource(tmp_path / "in.jsonl").items())
    assert [item.line for item in items] == [1, 2, 3]
    with pytest.raises(InputError, match="the line is longer than 1 MiB"):
        items[1].load()
    assert items[2].load().messages[0].content == "a"


def test_lines_just_below_the_limit_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [question("x" * 100), question("b")]
    write_jsonl(tmp_path / "in.jsonl", rows)
    monkeypatch.setattr(lines, "MAX_LINE", len(rows[0].to_json()) + 1)
    assert [item.load() for item in FileSource(tmp_path / "in.jsonl").items()] == rows


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_input_in_another_encoding_is_an_error_before_any_request(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes((question("a").to_json() + "\n").encode(encoding))
    engine = FakeEngine()
    with pytest.raises(InputError, match="UTF-16 or UTF-32|bad row"):
        await engine.ainfer(inference_config=InferenceConfig(input_path=str(path)))
    assert not engine.asked


async def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\r\n".join(question(text).to_json().encode() for text in "ab") + b"\r\n\r\n")
    answered = await FakeEngine().ainfer(inference_config=InferenceConfig(input_path=str(path)))
    assert len(answered) == 2


async def test_a_cancelled_assembly_leaves_no_temporary_file_and_blocks_no_loop(tmp_path: Path) -> None:
    """The block watch of the tests fails on a file that is removed on the loop."""
    with anyio.CancelScope() as scope:

        def write() -> Generator[None]:
            with replacing(tmp_path / "out.jsonl") as file:
                while True:
                    file.write(b"x")
                    yield

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_slices, write())
            while not await to_thread.run_sync(lambda: list(tmp_path.iterdir())):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert list(tmp_path.iterdir()) == []
