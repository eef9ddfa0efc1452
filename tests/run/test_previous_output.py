"""A finished job that is run again reuses the answers in its output, or warns that it sends every row again."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import ConfigError, Conversation, InferenceConfig
from asyncinfer.scratch import disk
from tests.fakes import FakeEngine, answer_to, question, questions, read_jsonl, write_jsonl

ROWS = 20
WARNING = "already holds answers to"


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    """Twenty questions, file to file."""
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


@pytest.fixture
async def finished(config: InferenceConfig) -> InferenceConfig:
    """The same job after it was run, with `reuse_output`."""
    await FakeEngine().arun(config)
    return config.model_copy(update={"reuse_output": True})


def without_input(config: InferenceConfig) -> InferenceConfig:
    """The configuration for rows that are given as objects."""
    return config.model_copy(update={"input_path": None})


def output(config: InferenceConfig) -> list[dict[str, Any]]:
    return read_jsonl(Path(str(config.output_path)))


def write_input(config: InferenceConfig, rows: list[Conversation]) -> None:
    write_jsonl(Path(str(config.input_path)), rows)


def write_output(config: InferenceConfig, rows: list[dict[str, Any]]) -> None:
    Path(str(config.output_path)).write_text("".join(json.dumps(row, indent=None) + "\n" for row in rows))


def answers(config: InferenceConfig) -> list[str]:
    return [row["messages"][-1]["content"] for row in output(config)]


EXPECTED = [answer_to(f"question {i}") for i in range(ROWS)]


class TestRowKeys:
    async def test_every_answer_has_its_own_row_key(self, finished: InferenceConfig) -> None:
        keys = [row["metadata"]["row_key"] for row in output(finished)]
        assert len(set(keys)) == ROWS
        assert all(len(key) == 32 for key in keys)

    async def test_row_keys_number_duplicates(self) -> None:
        same = await FakeEngine().ainfer([question("same")] * 3)
        first = same[0].metadata["row_key"]
        assert [c.metadata["row_key"] for c in same] == [first, f"{first}-1", f"{first}-2"]

    async def test_row_keys_do_not_depend_on_metadata(self) -> None:
        """An output can be the next input."""
        [one] = await FakeEngine().ainfer([question("a")])
        [other] = await FakeEngine().ainfer([question("a", metadata={"row_key": "0" * 32, "x": 1})])
        assert other.metadata["row_key"] == one.metadata["row_key"]


class TestReuse:
    async def test_finished_job_sends_no_request(self, finished: InferenceConfig) -> None:
        before, engine = output(finished), FakeEngine()
        summary = await engine.arun(finished)
        assert engine.asked.total() == 0
        assert (summary.completed, summary.resumed) == (ROWS, ROWS)
        assert output(finished) == before
        assert not (Path(str(finished.output_path)).parent / "scratch").exists()

    async def test_ainfer_reuses_answers_too(self, finished: InferenceConfig) -> None:
        engine = FakeEngine()
        result = await engine.ainfer(inference_config=finished)
        assert engine.asked.total() == 0
        assert [c.messages[-1].content for c in result] == EXPECTED

    async def test_only_added_rows_are_sent(self, finished: InferenceConfig) -> None:
        write_input(finished, [question("new"), *questions(ROWS)[5:], question("newer")])
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.keys() == {"new", "newer"}
        assert answers(finished) == [answer_to("new"), *EXPECTED[5:], answer_to("newer")]

    async def test_reuse_reports_which_answers_the_replacement_loses(
        self, finished: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_input(finished, questions(ROWS)[:3])
        await FakeEngine().arun(finished)
        [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert f"holds {ROWS - 3} answer(s) to rows that are not in this input" in said
        assert "stop and copy the file, or choose another output_path" in said
        assert len(output(finished)) == 3

    @pytest.mark.parametrize(
        ("content", "metadata"), [("", {}), ("  ", {}), ("some", {"finish_reason": "error"})], ids=repr
    )
    async def test_empty_answers_and_answers_that_ended_with_an_error_are_not_reused(
        self, finished: InferenceConfig, content: str, metadata: dict[str, Any]
    ) -> None:
        rows = output(finished)
        rows[1]["messages"][-1]["content"] = content
        rows[1]["metadata"] |= metadata
        write_output(finished, rows)
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.keys() == {"question 1"}
        assert answers(finished) == EXPECTED

    async def test_an_answer_that_only_calls_a_tool_is_reused(self, finished: InferenceConfig) -> None:
        rows = output(finished)
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        rows[1]["messages"][-1] |= {"content": "", "tool_calls": [call]}
        write_output(finished, rows)
        engine = FakeEngine()
        await engine.arun(finished)
        assert not engine.asked

    async def test_reused_rows_have_the_ids_and_metadata_of_the_present_input(self, finished: InferenceConfig) -> None:
        renamed = [question(f"question {i}", conversation_id=f"new{i}", metadata={"i": i}) for i in range(ROWS)]
        write_input(finished, renamed)
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.total() == 0
        rows = output(finished)
        assert [row["conversation_id"] for row in rows] == [f"new{i}" for i in range(ROWS)]
        assert rows[3]["metadata"] == {
            "i": 3,
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "finish_reason": "stop",
            "row_key": rows[3]["metadata"]["row_key"],
        }
        await engine.arun(finished)
        assert engine.asked.total() == 0, "a reused answer can be reused again"

    async def test_changed_parameter_sends_its_rows_again(self, finished: InferenceConfig) -> None:
        finished.generation.temperature = 0.5
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.total() == ROWS

    async def test_duplicates_are_distinguished_by_their_number(self, config: InferenceConfig) -> None:
        config = config.model_copy(update={"deduplicate": False})
        write_input(config, [question("same")] * 4)
        await FakeEngine().arun(config)
        write_input(config, [question("same")] * 6)
        engine = FakeEngine()
        await engine.arun(config.model_copy(update={"reuse_output": True}))
        assert engine.asked["same"] == 2

    async def test_ainfer_iter_reuses_answers(self, finished: InferenceConfig) -> None:
        engine = FakeEngine()
        rows = [*questions(ROWS), question("new")]
        found = {i: outcome async for i, outcome in engine.ainfer_iter(rows, without_input(finished))}
        assert engine.asked.keys() == {"new"}
        assert len(found) == ROWS + 1
        assert answers(finished) == [*EXPECTED, answer_to("new")]

    async def test_every_row_is_sent_without_an_earlier_output(self, config: InferenceConfig) -> None:
        engine = FakeEngine()
        await engine.arun(config.model_copy(update={"reuse_output": True}))
        assert engine.asked.total() == ROWS

    async def test_reuse_without_an_output_path_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match="reuse_output: set output_path"):
            await FakeEngine().ainfer(questions(2), InferenceConfig(reuse_output=True))


class TestLinesThatCannotBeReused:
    @pytest.mark.parametrize(
        "damage",
        [
            {"messages": []},
            {"messages": [{"role": "user", "content": "question 3"}]},
            {"messages": [{"role": "user", "content": "edited"}, {"role": "assistant", "content": "wrong"}]},
            {"messages": [{"role": "user", "content": "question 3"}, {"role": "user", "content": "no answer"}]},
            {"messages": "?"},
        ],
    )
    async def test_rows_of_damaged_lines_are_sent_again(
        self, finished: InferenceConfig, damage: dict[str, Any]
    ) -> None:
        rows = output(finished)
        write_output(finished, [*rows[:3], rows[3] | damage, *rows[4:]])
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.keys() == {"question 3"}
        assert answers(finished) == EXPECTED

    async def test_rows_with_swapped_keys_are_sent_again(self, finished: InferenceConfig) -> None:
        rows = output(finished)
        rows[3]["metadata"], rows[4]["metadata"] = rows[4]["metadata"], rows[3]["metadata"]
        write_output(finished, rows)
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.keys() == {"question 3", "question 4"}
        assert answers(finished) == EXPECTED

    async def test_lines_of_another_json_writer_are_reused(self, finished: InferenceConfig) -> None:
        """Other white space, another order of the keys, and a last line without a line break."""
        rows = [dict(reversed(row.items())) for row in reversed(output(finished))]
        path = Path(str(finished.output_path))
        path.write_text("\r\n".join(json.dumps(row, ensure_ascii=False, separators=(", ", " : ")) for row in rows))
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.total() == 0
        assert answers(finished) == EXPECTED

    async def test_odd_lines_of_the_output_are_ignored(self, finished: InferenceConfig) -> None:
        path = Path(str(finished.output_path))
        key = output(finished)[3]["metadata"]["row_key"]
        path.write_bytes(
            b'\xff\x00{"row_key": "%b"}\n"row_key": "%b-999999999"\n\n[[[[\n' % (key.encode(), key.encode())
        )
        engine = FakeEngine()
        await engine.arun(finished)
        assert engine.asked.total() == ROWS
        assert answers(finished) == EXPECTED


class TestWithoutReuse:
    @pytest.fixture(autouse=True)
    def warnings(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)

    async def test_warning_is_logged_before_the_first_request(
        self, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        await FakeEngine().arun(config)
        assert WARNING not in caplog.text

        def script(*_: object) -> None:
            assert f"{WARNING} 20 of these 20 rows" in caplog.text
            assert "--reuse" in caplog.text

        engine = FakeEngine(script)
        summary = await engine.arun(config)
        assert (summary.completed, engine.asked.total()) == (ROWS, ROWS)

    async def test_warning_has_the_number_of_rows(
        self, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        await FakeEngine().arun(config)
        write_input(config, [*questions(ROWS), question("new")])
        await FakeEngine().arun(config)
        assert f"{WARNING} 20 of these 21 rows" in caplog.text

    @pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
    async def test_warning_does_not_say_that_cached_rows_are_sent(
        self, config: InferenceConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        cached = config.model_copy(
            update={"output_path": str(tmp_path / name), "cache": True, "cache_path": str(tmp_path / "cache.sqlite")}
        )
        await FakeEngine().arun(cached)
        engine = FakeEngine()
        await engine.arun(cached)
        assert "rows that are not in the cache are sent again" in caplog.text
        assert not engine.asked

    async def test_ainfer_iter_warns_once(self, config: InferenceConfig, caplog: pytest.LogCaptureFixture) -> None:
        await FakeEngine().arun(config)
        async for _ in FakeEngine().ainfer_iter(questions(ROWS), without_input(config)):
            pass
        assert caplog.text.count("already holds answers") == 1

    async def test_output_of_other_rows_gives_no_warning(
        self, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        await FakeEngine(model="other").arun(config)
        await FakeEngine().arun(config)
        assert WARNING not in caplog.text

    async def test_rows_in_the_scratch_file_are_not_sent_and_give_no_warning(
        self, config: InferenceConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last run replaced its output and could not remove its scratch file."""

        def refuse(path: Path) -> None:
            if path.suffix == ".jsonl":
                raise PermissionError(errno.EACCES, "Permission denied")
            path.unlink(missing_ok=True)

        with monkeypatch.context() as patch:
            patch.setattr(disk, "remove", refuse)
            await FakeEngine().arun(config)
        assert "out.jsonl cannot be removed: Permission denied" in caplog.text
        engine = FakeEngine()
        await engine.arun(config)
        assert engine.asked.total() == 0
        assert WARNING not in caplog.text
        assert not (Path(str(config.output_path)).parent / "scratch").exists()
