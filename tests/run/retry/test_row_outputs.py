"""`retry_failures` with an output of rows, or of compressed conversations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anyio import to_thread

from asyncinfer import (
    ConfigError,
    Conversation,
    GuidedDecodingParams,
    InferenceConfig,
    InputError,
    InputParams,
    OutputParams,
    RunInterruptedError,
    Stop,
    Usage,
    rows_from,
)
from asyncinfer.types.answer import Completion
from tests.data.tables import read, write
from tests.fakes import FakeEngine, ReasoningEngine, TextEngine, questions, read_jsonl, rejection, write_jsonl
from tests.faulty_disk import KilledError, killed_at_replacement

OUTPUTS = ["out.parquet", "out.csv", "out.tsv", "out.csv.gz", "out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]
ROWS = [{"id": f"r{number}", "text": f'text {number}, "quoted"\nü'} for number in range(10)]


def prompt(number: int) -> str:
    return f"Summarise: {ROWS[number]['text']}"


def rejecting(*numbers: int) -> Callable[[str, int], None]:
    rejected = {prompt(number) for number in numbers}

    def script(text: str, _: int) -> None:
        if text in rejected:
            raise rejection()

    return script


def refuse() -> None:
    raise rejection()


def job(folder: Path, name: str = "out.parquet", **more: Any) -> InferenceConfig:
    return InferenceConfig(
        input=InputParams(path=folder / "in.parquet", prompt="Summarise: {{ text }}", id="id"),
        output=OutputParams(path=folder / name, rows=True),
        **more,
    )


async def run_first(folder: Path, *failing: int, name: str = "out.parquet", **more: Any) -> InferenceConfig:
    """Run a job in which some rows fail. Returns the configuration that tries these rows again."""
    await to_thread.run_sync(write, folder / "in.parquet", [*ROWS])
    await FakeEngine(rejecting(*failing)).arun(job(folder, name, **more))
    return job(folder, name, retry_failures=True)


async def read_rows(path: Path) -> list[dict[str, Any]]:
    return await to_thread.run_sync(read, path)


async def ids(path: Path) -> list[str]:
    return [row["id"] for row in await read_rows(path)]


def failed(folder: Path, name: str = "out.parquet") -> list[int]:
    """The rows in the file of failed rows."""
    return [line["metadata"]["failure"]["row"] for line in read_jsonl(folder / f"{name}.failures.jsonl")]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", OUTPUTS)
async def test_answers_get_the_places_of_their_rows(tmp_path: Path, name: str) -> None:
    await run_first(tmp_path, name=name)
    whole = await read_rows(tmp_path / name)
    (tmp_path / name).unlink()
    config = await run_first(tmp_path, 0, 3, 4, 9, name=name)
    assert await ids(tmp_path / name) == ["r1", "r2", "r5", "r6", "r7", "r8"]
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.total, summary.completed, summary.failed, summary.failures_path) == (4, 4, 0, None)
    assert set(engine.asked) == {prompt(0), prompt(3), prompt(4), prompt(9)}
    assert await read_rows(tmp_path / name) == whole
    assert names(tmp_path) == {"in.parquet", name}


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst"])
async def test_answers_are_merged_into_compressed_conversations(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(6))
    config = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / name)

    def script(text: str, _: int) -> None:
        if text in ("question 0", "question 4"):
            raise rejection()

    await FakeEngine(script).arun(config)
    engine = FakeEngine()
    # The input is not needed: the conversations are in the file of failed rows.
    await engine.arun(config.model_copy(update={"retry_failures": True, "input_path": None}))
    assert set(engine.asked) == {"question 0", "question 4"}
    found = await read_rows(tmp_path / name)
    assert [row["conversation_id"] for row in found] == [f"q{number}" for number in range(6)]
    assert names(tmp_path) == {"in.jsonl", name}


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
async def test_rows_that_fail_again_stay_in_the_file(tmp_path: Path, name: str) -> None:
    config = await run_first(tmp_path, 0, 3, 4, 9, name=name)
    summary = await FakeEngine(rejecting(3, 9)).arun(config)
    assert (summary.completed, summary.failures_path) == (2, tmp_path / f"{name}.failures.jsonl")
    assert [row for row, _ in summary.failure_samples] == [3, 9]
    assert await ids(tmp_path / name) == ["r0", "r1", "r2", "r4", "r5", "r6", "r7", "r8"]
    assert failed(tmp_path, name) == [3, 9]
    await FakeEngine().arun(config)
    assert await ids(tmp_path / name) == [f"r{number}" for number in range(10)]


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
async def test_output_is_created_if_every_row_had_failed(tmp_path: Path, name: str) -> None:
    config = await run_first(tmp_path, *range(10), name=name)
    assert not (tmp_path / name).exists()
    await FakeEngine().arun(config)
    assert await ids(tmp_path / name) == [f"r{number}" for number in range(10)]


async def test_corrected_row_is_sent_as_it_is_in_the_file_and_keeps_the_columns_of_the_input(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    path = tmp_path / "out.parquet.failures.jsonl"
    path.write_text(path.read_text().replace("Summarise: text 2", "Please read: text 2"))
    engine = FakeEngine(rejecting(5))
    await engine.arun(config)
    assert prompt(2).replace("Summarise", "Please read") in engine.asked
    await FakeEngine().arun(config)
    row = (await read_rows(tmp_path / "out.parquet"))[2]
    assert (row["id"], row["text"]) == ("r2", ROWS[2]["text"])
    assert row["answer"] == f"answer to Please read: {ROWS[2]['text']}"
    assert names(tmp_path) == {"in.parquet", "out.parquet"}


async def test_rows_removed_from_the_file_are_skipped_and_their_order_is_free(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 1, 3, 7, 8)
    path = tmp_path / "out.parquet.failures.jsonl"
    first, _, *last = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*last[::-1], first]))
    await FakeEngine().arun(config)
    assert await ids(tmp_path / "out.parquet") == [f"r{number}" for number in range(10) if number != 3]
    assert names(tmp_path) == {"in.parquet", "out.parquet"}


async def test_saved_rows_of_a_later_run_are_kept(tmp_path: Path) -> None:
    config, stop = await run_first(tmp_path, 2, 5), Stop(grace=0)
    failures = tmp_path / "out.parquet.failures.jsonl"
    old = failures.read_bytes()
    more = [{"id": f"r{number}", "text": f"more {number}"} for number in range(10, 20)]
    await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS, *more])
    engine = FakeEngine(lambda text, _: stop.request() if text == "Summarise: more 15" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.arun(job(tmp_path), stop=stop)
    # As if the run had been killed. The rows are corrected, so that their keys are not those of the input.
    failures.write_bytes(old.replace(b"text ", b"a better text "))
    await FakeEngine(lambda text, _: refuse() if "text 5" in text else None).arun(config)
    await FakeEngine().arun(config)
    saved = (tmp_path / "scratch" / "out.parquet").read_text()
    assert '"r14"' in saved
    assert not any(name in saved for name in ('"r0"', '"r2"', '"r5"'))
    again = FakeEngine()
    await again.arun(job(tmp_path))
    assert "Summarise: more 14" not in again.asked


async def test_scratch_file_stays_with_a_warning_if_the_input_has_become_invalid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = await run_first(tmp_path, 2, 5)
    await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS[:9], {**ROWS[9], "id": "r8"}])
    await FakeEngine().arun(config)
    assert len(await ids(tmp_path / "out.parquet")) == 10
    assert "scratch" in names(tmp_path)
    assert "still holds the rows of this run, which are no longer needed: " in caplog.text
    assert "conversation_id 'r8' is already that of row 8" in caplog.text


async def test_saved_rows_of_other_settings_stay_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = await run_first(tmp_path, 2, 5)
    config.generation.seed = 7
    await FakeEngine().arun(config)
    assert names(tmp_path) == {"in.parquet", "out.parquet", "scratch"}
    assert "keeps 8 saved row(s) that belong to other input or settings" in caplog.text


async def test_input_that_changes_during_the_retry_is_an_error_and_no_answer_is_lost(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    path = tmp_path / "in.parquet"
    original, output = path.read_bytes(), (tmp_path / "out.parquet").read_bytes()

    async def change_input(*_: object) -> None:
        await to_thread.run_sync(write, path, [{**row, "text": "new"} for row in ROWS])

    with pytest.raises(InputError, match="row 2 of .*in.parquet has changed since it failed"):
        await FakeEngine(change_input, workers=1).arun(config)
    assert (tmp_path / "out.parquet").read_bytes() == output
    path.write_bytes(original)
    again = FakeEngine()
    await again.arun(config)
    assert not again.asked
    assert await ids(tmp_path / "out.parquet") == [f"r{number}" for number in range(10)]


async def test_new_rows_at_the_end_of_the_input_are_not_sent(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2)
    await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS, {"id": "r10", "text": "more"}])
    engine = FakeEngine()
    await engine.arun(config)
    assert set(engine.asked) == {prompt(2)}


class TestLimit:
    async def test_rows_that_a_limited_run_has_not_tried_are_not_sent(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 1, 3, limit=5)
        engine = FakeEngine()
        await engine.arun(config)
        assert set(engine.asked) == {prompt(1), prompt(3)}
        assert await ids(tmp_path / "out.parquet") == ["r0", "r1", "r2", "r3", "r4"]
        assert names(tmp_path) == {"in.parquet", "out.parquet"}

    async def test_column_that_only_rows_after_the_limit_have_is_no_column_of_the_retry(self, tmp_path: Path) -> None:
        rows = [*ROWS[:5], {**ROWS[5], "note": "later"}]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = InferenceConfig(
            input=InputParams(path=tmp_path / "in.jsonl", prompt="Summarise: {{ text }}", id="id"),
            output_path=tmp_path / "out.csv",
            limit=5,
        )
        await FakeEngine(rejecting(1)).arun(config)
        await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))
        assert await ids(tmp_path / "out.csv") == ["r0", "r1", "r2", "r3", "r4"]

    async def test_failed_row_after_the_limit_is_merged_and_saved_rows_after_it_are_kept(self, tmp_path: Path) -> None:
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS])
        stop = Stop(grace=0)

        async def script(text: str, _: int) -> None:
            if text == prompt(7):
                raise rejection()
            if text == prompt(8):
                stop.request()
                await anyio.sleep_forever()

        with pytest.raises(RunInterruptedError):
            await FakeEngine(script, workers=1).arun(job(tmp_path), stop=stop)
        await FakeEngine().arun(job(tmp_path, limit=5))
        assert failed(tmp_path) == [7]
        await FakeEngine().arun(job(tmp_path, retry_failures=True))
        assert await ids(tmp_path / "out.parquet") == ["r0", "r1", "r2", "r3", "r4", "r7"]
        engine = FakeEngine()
        await engine.arun(job(tmp_path))
        assert not engine.asked.keys() & {prompt(5), prompt(6)}

    async def test_limit_of_the_retry_tries_the_first_failed_rows(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2, 5, 7)
        await FakeEngine().arun(config.model_copy(update={"limit": 1}))
        assert await ids(tmp_path / "out.parquet") == ["r0", "r1", "r2", "r3", "r4", "r6", "r8", "r9"]
        assert failed(tmp_path) == [5, 7]


class TestColumns:
    @pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
    async def test_column_that_only_a_new_answer_needs_is_added(self, tmp_path: Path, name: str) -> None:
        config = await run_first(tmp_path, 2, name=name)
        await ReasoningEngine().arun(config)
        found = [row.get("reasoning_content") or None for row in await read_rows(tmp_path / name)]
        assert found == [None, None, "Let me see.", *[None] * 7]

    async def test_column_that_only_the_failed_row_has_is_in_a_json_output_too(self, tmp_path: Path) -> None:
        rows = [*ROWS[:2], {**ROWS[2], "note": "mine"}]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = InferenceConfig(
            input=InputParams(path=tmp_path / "in.jsonl", prompt="Summarise: {{ text }}", id="id"),
            output=OutputParams(path=tmp_path / "out.jsonl", rows=True),
        )
        await FakeEngine(rejecting(2)).arun(config)
        await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))
        assert [row.get("note") for row in await read_rows(tmp_path / "out.jsonl")] == [None, None, "mine"]

    @pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
    async def test_column_that_only_older_answers_need_stays(self, tmp_path: Path, name: str) -> None:
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS])
        await ReasoningEngine(rejecting(2)).arun(job(tmp_path, name))
        await FakeEngine().arun(job(tmp_path, name, retry_failures=True))
        found = [row.get("reasoning_content") or None for row in await read_rows(tmp_path / name)]
        assert found == ["Let me see." if number != 2 else None for number in range(10)]

    async def test_types_of_the_input_stay(self, tmp_path: Path) -> None:
        fields = {
            "id": pa.string(),
            "text": pa.large_string(),
            "day": pa.date32(),
            "at": pa.timestamp("s"),
            "tags": pa.list_(pa.struct([("x", pa.int8())])),
            "kind": pa.dictionary(pa.int8(), pa.string()),
        }
        rows = [{**row, "day": date(2026, 1, 1), "tags": [{"x": 1}], "kind": "a"} for row in ROWS]
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), tmp_path / "in.parquet")
        await FakeEngine().arun(job(tmp_path))
        whole = pq.read_table(tmp_path / "out.parquet")
        (tmp_path / "out.parquet").unlink()
        await FakeEngine(rejecting(0, 5)).arun(job(tmp_path))
        await FakeEngine().arun(job(tmp_path, retry_failures=True))
        assert pq.read_table(tmp_path / "out.parquet").equals(whole)

    async def test_types_of_the_output_stay_if_the_input_has_other_types_now(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        types = pq.read_schema(tmp_path / "out.parquet")
        table = pq.read_table(tmp_path / "in.parquet")
        table = table.cast(pa.schema([(name, pa.large_string()) for name in table.column_names]))
        pq.write_table(table, tmp_path / "in.parquet")
        await FakeEngine().arun(config)
        assert pq.read_schema(tmp_path / "out.parquet").equals(types)

    async def test_typed_answers_are_typed_columns(self, tmp_path: Path) -> None:
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS])
        config = job(tmp_path)
        schema = {"type": "object", "properties": {"stars": {"type": "integer"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        await TextEngine('{"stars": 5}', rejecting(1)).arun(config)
        await TextEngine('{"stars": 5}').arun(config.model_copy(update={"retry_failures": True}))
        found = pq.read_table(tmp_path / "out.parquet")
        assert found["stars"].to_pylist() == [5] * 10
        assert "answer" not in found.column_names

    async def test_time_of_another_kind_than_those_before_is_null_and_the_answer_whole(self, tmp_path: Path) -> None:
        config = await self.run_clock(tmp_path)
        await TextEngine('{"at": "2026-01-02T12:00:00"}').arun(config.model_copy(update={"retry_failures": True}))
        found = pq.read_table(tmp_path / "out.parquet")
        assert str(found.schema.field("at").type) == "timestamp[us, tz=UTC]"
        noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
        assert found["at"].to_pylist() == [noon, None, *[noon] * 8]
        assert found["answer"].to_pylist() == [None, '{"at": "2026-01-02T12:00:00"}', *[None] * 8]

    async def test_column_without_any_time_gets_the_type_of_the_new_times(self, tmp_path: Path) -> None:
        config = await self.run_clock(tmp_path, answer='{"at": null}')
        await TextEngine('{"at": "2026-01-02T12:00:00"}').arun(config.model_copy(update={"retry_failures": True}))
        found = pq.read_table(tmp_path / "out.parquet")
        assert str(found.schema.field("at").type) == "timestamp[us]"
        assert found["at"].to_pylist() == [None, datetime(2026, 1, 2, 12), *[None] * 8]

    async def test_other_type_of_a_property_is_refused_before_anything_is_sent(self, tmp_path: Path) -> None:
        config = await self.run_clock(tmp_path)
        schema = {"type": "object", "properties": {"at": {"type": "integer"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        engine = TextEngine('{"at": "2026-01-02T12:00:00Z"}')
        message = r"the column 'at' of .*out.parquet has the type timestamp.*, but with the present .* type is int64"
        with pytest.raises(ConfigError, match=message):
            await engine.arun(config.model_copy(update={"retry_failures": True}))
        assert not engine.asked

    @staticmethod
    async def run_clock(folder: Path, answer: str = '{"at": "2026-01-02T12:00:00Z"}') -> InferenceConfig:
        """Run a job whose answers are times, and in which one row fails."""
        await to_thread.run_sync(write, folder / "in.parquet", [*ROWS])
        config = job(folder)
        schema = {"type": "object", "properties": {"at": {"type": ["string", "null"], "format": "date-time"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        await TextEngine(answer, rejecting(1)).arun(config)
        return config

    @pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
    async def test_column_of_the_input_keeps_its_name(self, tmp_path: Path, name: str) -> None:
        class Seller(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                return replace(await super()._generate(conversation), usage=Usage(1, 2, 3, cost=0.5))

        await to_thread.run_sync(write, tmp_path / "in.parquet", [{**row, "cost": "mine"} for row in ROWS])
        await Seller(rejecting(1)).arun(job(tmp_path, name))
        await Seller().arun(job(tmp_path, name, retry_failures=True))
        found = await read_rows(tmp_path / name)
        assert [(row["cost"], float(row["answer_cost"])) for row in found] == [("mine", 0.5)] * 10


async def test_positions_that_the_user_has_changed_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    path = tmp_path / "out.parquet.failures.jsonl"
    first, second = read_jsonl(path)
    first["metadata"]["failure"]["output_position"] = 7
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    engine = FakeEngine()
    with pytest.raises(InputError, match="line 2: output_position is 4, but an earlier row has 7: keep these fields"):
        await engine.arun(config)
    assert not engine.asked


async def test_retry_that_should_save_events_says_that_it_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = await run_first(tmp_path, 2, save_events=True)
    before = (tmp_path / "out.parquet.events.json").read_bytes()
    await FakeEngine().arun(config.model_copy(update={"save_events": True}))
    assert (tmp_path / "out.parquet.events.json").read_bytes() == before
    assert caplog.text.count("save_events: a retry saves no events") == 1


async def test_next_run_of_the_whole_input_sends_no_merged_row(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(job(tmp_path))
    assert set(engine.asked) == {prompt(5)}
    assert await ids(tmp_path / "out.parquet") == [f"r{number}" for number in range(10)]


@pytest.mark.parametrize("replacements", [0, 1], ids=["before_output", "between_files"])
async def test_merge_that_was_cut_off_is_completed(tmp_path: Path, replacements: int) -> None:
    config = await run_first(tmp_path, 2, 5)
    with killed_at_replacement("out.parquet.retry.", replacements), pytest.raises(KilledError):
        await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(config)
    assert set(engine.asked) == {prompt(5)}
    assert await ids(tmp_path / "out.parquet") == [f"r{number}" for number in range(10)]
    assert names(tmp_path) == {"in.parquet", "out.parquet"}


async def test_retry_accepts_the_data_frame_of_the_run(tmp_path: Path) -> None:
    rows = rows_from(await to_thread.run_sync(pd.DataFrame, ROWS), prompt="Summarise: {{ text }}", id="id")
    config = InferenceConfig(output_path=tmp_path / "out.parquet")
    await FakeEngine(rejecting(4)).arun(config, input=rows)
    engine = FakeEngine()
    await engine.arun(config.model_copy(update={"retry_failures": True}), input=rows)
    assert set(engine.asked) == {prompt(4)}
    assert await ids(tmp_path / "out.parquet") == [f"r{number}" for number in range(10)]


async def test_row_whose_image_could_not_be_read_is_sent_when_it_can(tmp_path: Path) -> None:
    rows = [{**row, "image": str(tmp_path / f"{row['id']}.png")} for row in ROWS[:3]]
    await to_thread.run_sync(write, tmp_path / "in.parquet", [*rows])
    picture = b"\x89PNG\r\n\x1a\n" + bytes(16)
    for name in ("r0", "r2"):
        (tmp_path / f"{name}.png").write_bytes(picture)
    config = job(tmp_path)
    assert config.input is not None
    config = config.model_copy(update={"input": config.input.model_copy(update={"images": "image"})})
    await FakeEngine().arun(config)
    assert failed(tmp_path) == [1]
    (tmp_path / "r1.png").write_bytes(picture)
    await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))
    assert await ids(tmp_path / "out.parquet") == ["r0", "r1", "r2"]


async def test_retry_is_estimated_by_its_own_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 3, 4, 5)
    estimate = await FakeEngine().aestimate(None, config, rows=2)
    assert (estimate.rows, estimate.left, estimate.pilot_rows) == (4, 2, 2)


class TestRefused:
    """What cannot be merged is an error before anything is sent, and the output stays as it is."""

    async def refused(
        self,
        config: InferenceConfig,
        message: str,
        kind: type[Exception] = ConfigError,
        engine: FakeEngine | None = None,
    ) -> None:
        assert config.output_path is not None
        path, engine = Path(config.output_path), engine or FakeEngine()
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(kind, match=message):
            await engine.arun(config)
        assert not engine.asked
        assert (path.read_bytes() if path.exists() else None) == before

    @pytest.mark.parametrize(
        "changed",
        [ROWS[1:], [*ROWS[::-1]], ROWS[:2], [{**row, "text": f"new {row['text']}"} for row in ROWS]],
        ids=["first row gone", "reversed", "cut", "other texts"],
    )
    async def test_retry_with_a_changed_input_is_refused(self, tmp_path: Path, changed: list[dict[str, str]]) -> None:
        config = await run_first(tmp_path, 2, 5)
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*changed])
        message = "row 2 of .*in.parquet has changed since it failed.*without retry_failures"
        await self.refused(config, message, InputError)

    @pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
    async def test_retry_into_a_table_with_other_columns_is_refused(self, tmp_path: Path, name: str) -> None:
        config = await run_first(tmp_path, 2, name=name)
        assert config.input is not None
        fewer = config.input.model_copy(update={"keep": ["id"]})
        await self.refused(
            config.model_copy(update={"input": fewer}), "has the columns id, text, answer, .* an output has id, answer"
        )

    async def test_retry_into_a_json_output_with_further_columns_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2, name="out.jsonl")
        assert config.input is not None
        fewer = config.input.model_copy(update={"keep": ["id"]})
        await self.refused(
            config.model_copy(update={"input": fewer}), "has the columns id, text, answer, .* an output has id, answer"
        )

    async def test_retry_into_a_json_output_with_fewer_columns_is_refused(self, tmp_path: Path) -> None:
        fewer = job(tmp_path, "out.jsonl")
        assert fewer.input is not None
        fewer = fewer.model_copy(update={"input": fewer.input.model_copy(update={"keep": ["id"]})})
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS])
        await FakeEngine(rejecting(2)).arun(fewer)
        message = "has the columns id, answer, .* an output has id, text, answer"
        await self.refused(job(tmp_path, "out.jsonl", retry_failures=True), message)

    async def test_retry_into_a_json_output_without_the_columns_of_typed_answers_is_refused(
        self, tmp_path: Path
    ) -> None:
        config = await run_first(tmp_path, 2, name="out.jsonl")
        schema = {"type": "object", "properties": {"stars": {"type": "integer"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        message = "has the columns id, text, answer, .* an output has id, text, stars"
        await self.refused(config, message, engine=TextEngine('{"at": "2026-01-02T12:00:00Z"}'))

    async def test_retry_with_the_output_of_another_run_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        table = pq.read_table(tmp_path / "out.parquet")
        pq.write_table(table.slice(3), tmp_path / "out.parquet")
        await self.refused(config, "out.parquet has 6 rows, but the run that wrote .* had 9 answers")

    async def test_retry_without_its_output_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        (tmp_path / "out.parquet").unlink()
        await self.refused(config, "has 0 rows")
        engine = FakeEngine()
        await engine.arun(job(tmp_path))
        assert set(engine.asked) == {prompt(2)}

    async def test_retry_with_an_output_in_another_format_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        (tmp_path / "out.parquet").write_text("not Parquet")
        await self.refused(config, "out.parquet", InputError)

    async def test_retry_of_an_interrupted_run_is_refused(self, tmp_path: Path) -> None:
        await to_thread.run_sync(write, tmp_path / "in.parquet", [*ROWS])
        stop = Stop(grace=0)

        def script(text: str, _: int) -> None:
            if text == prompt(1):
                raise rejection()
            if text == prompt(5):
                stop.request()

        with pytest.raises(RunInterruptedError):
            await FakeEngine(script, workers=1).arun(job(tmp_path), stop=stop)
        await self.refused(job(tmp_path, retry_failures=True), "was interrupted.*Run the same again without")

    async def test_retry_without_the_input_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        without = config.model_copy(update={"input": None, "input_path": None})
        await self.refused(without, "retry_failures: set input_path too: the columns of the output come from there")

    async def test_retry_of_a_row_without_its_checksum_is_refused(self, tmp_path: Path) -> None:
        config = await run_first(tmp_path, 2)
        path = tmp_path / "out.parquet.failures.jsonl"
        [line] = read_jsonl(path)
        del line["metadata"]["failure"]["row_checksum"]
        path.write_text(json.dumps(line))
        await self.refused(
            config, r"(?s)nothing was run.*line 1: .*row_checksum.* they say where the answer belongs", InputError
        )
