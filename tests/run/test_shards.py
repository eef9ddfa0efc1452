"""Parts of the output that are written while a run is in progress."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import ConfigError, InferenceConfig, RunInterruptedError, Stop
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import decode, encode
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, write_jsonl


def settings(folder: Path, shards: int, **more: object) -> InferenceConfig:
    return InferenceConfig.model_validate(
        {"output_path": str(folder / "out.jsonl"), "output": {"shards": shards}, **more}
    )


def shards_in(folder: Path) -> dict[str, list[str]]:
    """The ids of the rows of each shard."""
    return {path.name: [row["conversation_id"] for row in read_jsonl(path)] for path in sorted(folder.glob("out-*"))}


async def test_shards_are_parts_of_the_output_in_input_order(tmp_path: Path) -> None:
    await FakeEngine().ainfer(questions(10), settings(tmp_path, 4))
    assert shards_in(tmp_path) == {
        "out-00000-of-00003.jsonl": ["q0", "q1", "q2", "q3"],
        "out-00001-of-00003.jsonl": ["q4", "q5", "q6", "q7"],
        "out-00002-of-00003.jsonl": ["q8", "q9"],
    }
    joined = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("out-*")))
    assert joined == (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize("first", [[0, 1, 2], [0, 0, 0], [0, 1, 0]], ids=["distinct", "duplicates", "both"])
async def test_shard_is_written_as_soon_as_its_rows_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[int]
) -> None:
    first_shard, assemble = anyio.Event(), ScratchFile.assemble

    async def watched(*args: object) -> None:
        await assemble(*args)  # pyright: ignore
        first_shard.set()

    async def script(text: str, _: int) -> None:
        if text == "question 5":
            await first_shard.wait()

    monkeypatch.setattr(ScratchFile, "assemble", watched)
    with anyio.fail_after(30):
        rows = [question(f"question {number}") for number in (*first, 3, 4, 5)]
        await FakeEngine(script).ainfer(rows, settings(tmp_path, 3))
    assert len(shards_in(tmp_path)) == 2


async def test_rows_with_the_answer_of_an_identical_row_complete_their_shard(tmp_path: Path) -> None:
    rows = [question("the same", conversation_id=f"q{number}") for number in range(4)]
    engine = FakeEngine()
    await engine.ainfer(rows, settings(tmp_path, 2))
    assert engine.asked == {"the same": 1}
    assert list(shards_in(tmp_path).values()) == [["q0", "q1"], ["q2", "q3"]]


async def test_rows_from_the_cache_complete_their_shard(tmp_path: Path) -> None:
    cached = {"cache": True, "cache_path": str(tmp_path / "cache.sqlite3")}
    await FakeEngine().ainfer(questions(4), InferenceConfig.model_validate(cached))
    engine = FakeEngine()
    await engine.ainfer(questions(4), settings(tmp_path, 2, **cached))
    assert not engine.asked
    assert list(shards_in(tmp_path).values()) == [["q0", "q1"], ["q2", "q3"]]


async def test_shard_with_a_copied_failure_is_written(tmp_path: Path) -> None:
    rows = [question(text, conversation_id=f"q{number}") for number, text in enumerate(["bad", "a", "bad", "b"])]

    def script(text: str, _: int) -> None:
        if text == "bad":
            raise rejection()

    await FakeEngine(script).ainfer_partial(rows, settings(tmp_path, 2))
    assert list(shards_in(tmp_path).values()) == [["q1"], ["q3"]]


async def test_failed_row_is_left_out_until_it_is_answered(tmp_path: Path) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 1":
            raise rejection()

    await FakeEngine(script).ainfer_partial(questions(4), settings(tmp_path, 2))
    assert shards_in(tmp_path)["out-00000-of-00002.jsonl"] == ["q0"]
    engine = FakeEngine()
    await engine.ainfer_partial(questions(4), settings(tmp_path, 2))
    assert shards_in(tmp_path)["out-00000-of-00002.jsonl"] == ["q0", "q1"]
    assert set(engine.asked) == {"question 1"}


def remove_saved_answer(scratch: Path, number: int) -> None:
    """Save the row with this number without its answer."""
    lines = list[bytes]()
    for line in scratch.read_bytes().splitlines(keepends=True):
        saved = decode(line, 0)
        assert saved is not None
        text = line[saved.offset : saved.offset + saved.length]
        if b"question %d" % number in text:
            text = questions(number + 1)[number].to_json_bytes()
        lines.append(encode(saved.key, saved.n, saved.checksum, text))
    scratch.write_bytes(b"".join(lines))


async def test_shard_has_the_new_answer_of_a_row_whose_saved_answer_cannot_be_used(tmp_path: Path) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 3":
            raise rejection()

    await FakeEngine(script).ainfer_partial(questions(4), settings(tmp_path, 2))
    remove_saved_answer(tmp_path / "scratch" / "out.jsonl", 0)
    engine = FakeEngine()
    await engine.ainfer(questions(4), settings(tmp_path, 2))
    assert set(engine.asked) == {"question 0", "question 3"}
    joined = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("out-*")))
    assert joined == (tmp_path / "out.jsonl").read_bytes()


async def test_shard_is_not_written_while_a_row_with_an_unusable_answer_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str, _: int) -> None:
        if text == "question 5":
            raise rejection()

    await FakeEngine(refuse).ainfer_partial(questions(6), settings(tmp_path, 2))
    remove_saved_answer(tmp_path / "scratch" / "out.jsonl", 2)
    is_open, last_is_written, written = anyio.Event(), anyio.Event(), list[str]()
    assemble = ScratchFile.assemble

    async def watched(self: ScratchFile, path: Path, spans: Any) -> None:
        written.append(path.name)
        if path.name.startswith("out-00000"):
            await is_open.wait()
        await assemble(self, path, spans)
        if path.name.startswith("out-00002"):
            last_is_written.set()

    async def script(text: str, _: int) -> None:
        if text == "question 2":
            is_open.set()
            await last_is_written.wait()

    monkeypatch.setattr(ScratchFile, "assemble", watched)
    with anyio.fail_after(30):
        await FakeEngine(script).ainfer(questions(6), settings(tmp_path, 2))
    shards = [name for name in written if name.startswith("out-")]
    assert shards == [f"out-0000{number}-of-00003.jsonl" for number in (0, 2, 1)]


@pytest.mark.parametrize("method", ["arun", "ainfer_partial"])
async def test_interrupted_run_leaves_whole_shards_and_resumes(tmp_path: Path, method: str) -> None:
    rows, stop = write_jsonl(tmp_path / "in.jsonl", questions(40)), Stop(grace=0)
    config = settings(tmp_path, 4, input_path=str(rows))
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 20" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await getattr(engine, method)(inference_config=config, stop=stop)
    written = shards_in(tmp_path)
    assert 0 < len(written) < 10
    assert {len(ids) for ids in written.values()} == {4}
    await getattr(FakeEngine(), method)(inference_config=config)
    assert [number for ids in shards_in(tmp_path).values() for number in ids] == [f"q{n}" for n in range(40)]


async def test_shard_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out-00000-of-00002.jsonl").mkdir()
    with caplog.at_level(logging.WARNING):
        await FakeEngine().ainfer(questions(4), settings(tmp_path, 2))
    assert "out-00000-of-00002.jsonl cannot be written: is not a file, but a folder" in caplog.text
    assert "move it elsewhere or choose another path" in caplog.text
    assert "earlier run" not in caplog.text
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


async def test_shards_of_an_earlier_run_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await FakeEngine().ainfer(questions(6), settings(tmp_path, 2))
    with caplog.at_level(logging.WARNING):
        await FakeEngine().ainfer(questions(8), settings(tmp_path, 2))
    assert (
        "out-00000-of-00003.jsonl (3 file(s) in all) was written by an earlier run with another number" in caplog.text
    )
    for path in tmp_path.glob("out-*-of-00003.jsonl"):
        path.unlink()
    caplog.clear()
    changed = settings(tmp_path, 2, generation={"max_new_tokens": 5})
    with caplog.at_level(logging.WARNING):
        await FakeEngine().ainfer(questions(8), changed)
    assert (
        "out-00000-of-00004.jsonl (4 file(s) in all) was written by an earlier run. This run replaces it" in caplog.text
    )


async def test_shards_need_an_output_and_a_known_number_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output\.shards: set output_path too"):
        await FakeEngine().ainfer(questions(2), settings(tmp_path, 2, output_path=None))
    with pytest.raises(ConfigError, match=r"output\.shards: ainfer_iter does not know"):
        async with FakeEngine().ainfer_iter(questions(2), settings(tmp_path, 2)) as outcomes:
            assert not [outcome async for outcome in outcomes]
