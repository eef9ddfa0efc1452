"""Mutation campaigns with fixed budgets: damaged scratch files and outputs, odd inputs and file names."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncinfer import AsyncInferError, InferenceConfig, InputError, ScratchError
from asyncinfer.run.sources import FileSource
from asyncinfer.scratch.format import is_readable
from tests.conftest import BlockWatch
from tests.fakes import FakeEngine, answer_to, questions, read_jsonl, rejection, write_jsonl

ROWS = 6
EXAMPLES = 400
campaign = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Mutation = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
def unwatched(block_watch: BlockWatch) -> None:
    """The tests themselves access files between runs."""
    block_watch.off()


# What may happen to a file


def flip(at: float, bit: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        damaged = bytearray(data)
        if damaged:
            damaged[int(at * len(damaged))] ^= 1 << bit
        return bytes(damaged)

    return mutate


def cut(start: float, length: int) -> Mutation:
    return lambda data: data[: int(start * len(data))] + data[int(start * len(data)) + length :]


def insert(at: float, more: bytes) -> Mutation:
    return lambda data: data[: int(at * len(data))] + more + data[int(at * len(data)) :]


def truncate(at: float) -> Mutation:
    return lambda data: data[: int(at * len(data))]


def reorder(order: list[int]) -> Mutation:
    """Lines by their numbers: left out, repeated, in another order."""

    def mutate(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(lines[i % len(lines)] for i in order) if lines else data

    return mutate


def lines_of(data: bytes) -> list[bytes]:
    """The lines as the scratch file has them: they end with a newline, and not with a carriage return."""
    return BytesIO(data).readlines()


def twice(data: bytes) -> bytes:
    return data + data


def join_lines(data: bytes) -> bytes:
    return data.replace(b"\n", b"", 1)


places = st.floats(0, 1, exclude_max=True)
scraps = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\n", b"\0" * 64, b"\r\n", b"\xef\xbb\xbf", b"\xff", b"{}\n", b'{"crc":', b"[" * 300, b"9" * 5000]
    ),
)
mutations = st.lists(
    st.one_of(
        st.builds(flip, places, st.integers(0, 7)),
        st.builds(cut, places, st.integers(1, 200)),
        st.builds(insert, places, scraps),
        st.builds(truncate, places),
        st.builds(reorder, st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=2 * ROWS)),
        st.just(twice),
        st.just(join_lines),
    ),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, changes: list[Mutation]) -> bytes:
    for change in changes:
        data = change(data)
    return data


# A job with a folder of its own for each example


@pytest.fixture(scope="module")
def scratch_lines(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, str]:
    """The lines of the scratch file of a job all of whose rows but the last are saved, and the questions they answer."""
    folder = tmp_path_factory.mktemp("scratch")

    def script(text: str, _: int) -> None:
        if text == "last":
            raise rejection()

    rows = [*questions(ROWS), questions(1)[0].model_copy(update={"conversation_id": "last"})]
    write_jsonl(folder / "in.jsonl", [*rows[:-1]])
    with (folder / "in.jsonl").open("a") as file:
        file.write('{"messages":[{"role":"user","content":"last"}]}\n')
    anyio.run(FakeEngine(script, workers=1).arun, config_in(folder))
    lines = lines_of((folder / "scratch" / "out.jsonl").read_bytes())
    return {line: json.loads(line)["conversation"]["messages"][0]["content"] for line in lines}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A finished output of six rows."""
    folder = tmp_path_factory.mktemp("output")
    write_jsonl(folder / "in.jsonl", questions(ROWS))
    anyio.run(FakeEngine().arun, config_in(folder))
    return (folder / "out.jsonl").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes folders that hold six questions; each takes the place of the one before."""
    made = tmp_path / "job"

    def make() -> Path:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        write_jsonl(made / "in.jsonl", questions(ROWS))
        return made

    yield make
    shutil.rmtree(made, ignore_errors=True)


def config_in(folder: Path, **more: Any) -> InferenceConfig:
    return InferenceConfig(input_path=str(folder / "in.jsonl"), output_path=str(folder / "out.jsonl"), **more)


def run(config: InferenceConfig, *, collect: bool) -> FakeEngine:
    """Run the job, keeping its answers in memory or not; the engine says what it was asked."""
    engine = FakeEngine()

    async def work() -> None:
        if collect:
            result = await engine.ainfer(inference_config=config)
            found = [conversation.messages[-1].content for conversation in result]
            assert found == [answer_to(f"question {i}") for i in range(ROWS)]
        else:
            await engine.arun(config)

    anyio.run(work)
    return engine


def check_output(folder: Path) -> None:
    rows = read_jsonl(folder / "out.jsonl")
    assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(ROWS)]
    assert [row["messages"][0]["content"] for row in rows] == [f"question {i}" for i in range(ROWS)]
    assert [row["messages"][-1]["content"] for row in rows] == [answer_to(f"question {i}") for i in range(ROWS)]


@pytest.mark.slow
@given(changes=mutations, collect=st.booleans())
@campaign
def test_a_damaged_scratch_file_never_gives_a_row_a_wrong_answer(
    folder: Callable[[], Path], scratch_lines: dict[bytes, str], changes: list[Mutation], collect: bool
) -> None:
    here = folder()
    data = mutated(b"".join(scratch_lines), changes)
    scratch = here / "scratch" / "out.jsonl"
    scratch.parent.mkdir()
    scratch.write_bytes(data)
    refused = None
    try:
        engine = run(config_in(here), collect=collect)
    except ScratchError as error:
        refused = str(error)
    if refused is not None:
        assert "was not written by asyncinfer" in refused
        assert scratch.read_bytes() == data
        assert not set(lines_of(data)) & scratch_lines.keys()
        return
    check_output(here)
    whole = {scratch_lines[line] for line in lines_of(data) if line in scratch_lines}
    assert engine.asked.keys() == {f"question {i}" for i in range(ROWS)} - whole
    assert set(engine.asked.values()) <= {1}
    assert not scratch.exists()


@pytest.mark.slow
@given(changes=mutations)
@campaign
def test_damaged_output_does_not_end_a_run(folder: Callable[[], Path], output: bytes, changes: list[Mutation]) -> None:
    """An edited line that is still a valid answer is used."""
    here = folder()
    data = mutated(output, changes)
    (here / "out.jsonl").write_bytes(data)
    engine = FakeEngine()
    anyio.run(engine.arun, config_in(here, reuse_output=True))
    rows = read_jsonl(here / "out.jsonl")
    assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(ROWS)]
    assert [row["messages"][0]["content"] for row in rows] == [f"question {i}" for i in range(ROWS)]
    # If a key occurs several times in the file, one of the lines may be damaged.
    whole = {
        json.loads(line)["messages"][0]["content"]
        for line in set(data.split(b"\n")) & set(output.splitlines())
        if data.count(json.loads(line)["metadata"]["row_key"].encode()) == 1
    }
    assert not engine.asked.keys() & whole
    for row in rows:
        question, answer = row["messages"][0]["content"], row["messages"][-1]["content"]
        assert question not in engine.asked.keys() | whole or answer == answer_to(question)


# Odd input files

plain = st.sampled_from([f'{{"messages":[{{"role":"user","content":"{text}"}}]}}'.encode() for text in "abc"])
values = st.one_of(
    st.sampled_from(
        [
            b"9" * 4300,
            b"9" * 4301,
            b"-1e999",
            b"NaN",
            b"[" * 150 + b"]" * 150,
            b'{"a":' * 190 + b"1" + b"}" * 190,
            b'{"a":' * 250 + b"1" + b"}" * 250,
            b'"\\ud800"',
            b'"\\u0000"',
            b'"\\ud83d\\ude00"',
            b'{"row_key":"' + b"0" * 32 + b'"}',
            b'""',
            b"null",
            b"1",
            b'"\xff"',
        ]
    ),
    st.text(max_size=20).map(lambda text: json.dumps(text).encode()),
)
with_metadata = values.map(lambda v: b'{"messages":[{"role":"user","content":"a"}],"metadata":{"odd":' + v + b"}}")
with_extra = values.map(lambda v: b'{"messages":[{"role":"user","content":"a","odd":' + v + b'}],"odd":' + v + b"}")
as_content = values.map(lambda v: b'{"messages":[{"role":"user","content":' + v + b"}]}")
odd_lines = st.one_of(
    plain,
    with_metadata,
    with_extra,
    as_content,
    st.sampled_from(
        [b"", b"  ", b"\t", b"\0", b"[]", b"{}", b"null", b'"x"', b'{"messages":[]}', b"\xff\xfe", b"{", b"x" * 70_000]
    ),
)
ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n", b"\r"])
beginnings = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\n", b"\xef\xbb\xbf\xef\xbb\xbf"])
files = st.builds(
    lambda beginning, lines, end, last: beginning + end.join(lines) + (end if last else b""),
    beginnings,
    st.one_of(st.lists(st.one_of(plain, with_metadata, with_extra), max_size=4), st.lists(odd_lines, max_size=4)),
    ends,
    st.booleans(),
)


@pytest.mark.slow
@given(data=files)
@campaign
def test_odd_input_is_an_error_before_any_request_or_is_answered_completely(
    folder: Callable[[], Path], data: bytes
) -> None:
    here = folder()
    (here / "in.jsonl").write_bytes(data)
    engine, summary = FakeEngine(), None
    with contextlib.suppress(InputError):
        summary = anyio.run(engine.arun, config_in(here))
    if summary is None:
        assert not engine.asked
        assert not (here / "out.jsonl").exists()
        return
    rows = len(list(FileSource(here / "in.jsonl").items()))
    assert (summary.completed, summary.failed) == (rows, 0)
    written = (here / "out.jsonl").read_bytes().splitlines()
    assert len(written) == rows
    assert all(is_readable(line) for line in written)
    again = FakeEngine()
    anyio.run(again.arun, config_in(here, reuse_output=True))
    assert not again.asked


# Odd names

names = st.text(min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..") and len(name.encode("utf-8", "surrogatepass")) < 1000
)


@pytest.mark.slow
@given(name=names, key=st.sampled_from(["input_path", "output_path", "progress_path"]))
@campaign
def test_any_file_name_works_or_is_refused_before_any_request(name: str, key: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        write_jsonl(here / "in.jsonl", questions(2))
        config = config_in(here).model_copy(update={key: f"{here}/{name}"})
        engine = FakeEngine()
        if key == "input_path":
            with contextlib.suppress(OSError, ValueError):
                write_jsonl(Path(f"{here}/{name}"), questions(2))
        summary = None
        with contextlib.suppress(AsyncInferError):
            summary = anyio.run(engine.arun, config)
        if summary is None:
            assert not engine.asked
        else:
            assert summary.completed == 2
            assert not [path for path in here.rglob("*") if path.suffix == ".tmp" or path.name == "scratch"]
