"""Columns for what comes with an answer: several answers, log probabilities, cost, and everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    InferenceConfig,
    InputParams,
    Message,
    ModelParams,
    OutputParams,
    Role,
    ToolCall,
    Usage,
)
from asyncinfer.types.answer import ANSWER_METADATA, Completion
from asyncinfer.types.logprobs import token_logprob
from tests.fakes import FakeEngine, SimpleEngine, read_jsonl

LOGPROBS = [token_logprob("Hi", -0.5, [])]
CHOICES = [
    {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": LOGPROBS}
    for number, text in enumerate(["Hi", "Hello"])
]
SAID_BESIDES = {
    "choices": CHOICES,
    "logprobs": LOGPROBS,
    "provider_fields": {"citations": ["https://example.com"]},
    "response_id": "r-1",
    "validation_retries": 2,
    "from_cache": True,
}
USAGE = Usage(3, 4, 7, cached_tokens=2, cost=0.25, details={"web_searches": 1})
CALL = ToolCall.model_validate({"id": "c1", "function": {"name": "f", "arguments": "{}"}})
MESSAGE = Message.model_validate(
    {
        "role": "assistant",
        "content": [{"type": "text", "content": "Hi"}, {"type": "image_url", "content": "https://example.com/a.png"}],
        "reasoning_content": "Let me see.",
        "tool_calls": [CALL],
        "refusal": "No.",
    }
)
# The columns of an answer that has all of these, and their values.
MESSAGE_FIELDS = {
    "content": [{"content": "Hi", "type": "text"}, {"content": "https://example.com/a.png", "type": "image_url"}],
    "refusal": "No.",
}
EXPECTED = {
    "reasoning_content": "Let me see.",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    "choices": CHOICES,
    "logprobs": LOGPROBS,
    "cost": 0.25,
    "cached_tokens": 2,
    "metadata": {
        "response_id": "r-1",
        "provider_fields": {"citations": ["https://example.com"]},
        "from_cache": True,
        "validation_retries": 2,
        "usage": {"web_searches": 1},
        "message_fields": MESSAGE_FIELDS,
    },
}


class Talker(SimpleEngine):
    """Answers with much more than a text, but rows whose prompt is `plain` with a text only."""

    async def _generate(self, conversation: Conversation) -> Completion:
        if conversation.messages[-1].text == "plain":
            return Completion(Message(role=Role.ASSISTANT, content="Hi"), FinishReason.STOP)
        return Completion(MESSAGE, FinishReason.STOP, USAGE, {**SAID_BESIDES})


def talker() -> Talker:
    return Talker(ModelParams(model_name="a"))


def saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "in.parquet")
    return folder / "in.parquet"


def job(folder: Path, output: str, rows: list[dict[str, Any]], **more: Any) -> InferenceConfig:
    return InferenceConfig(
        input=InputParams(path=saved(folder, rows), prompt="{{ text }}", **more),
        output=OutputParams(path=folder / output, rows=True),
    )


BOTH = [{"text": "plain"}, {"text": "much"}]


async def test_everything_that_came_with_an_answer_is_in_rows_of_jsonl(tmp_path: Path) -> None:
    await talker().arun(job(tmp_path, "out.jsonl", BOTH))
    plain, much = read_jsonl(tmp_path / "out.jsonl")
    assert {name: much[name] for name in EXPECTED} == EXPECTED
    assert {plain[name] for name in EXPECTED} == {None}


async def test_everything_that_came_with_an_answer_is_in_parquet_with_types(tmp_path: Path) -> None:
    await talker().arun(job(tmp_path, "out.parquet", BOTH))
    found = pq.read_table(tmp_path / "out.parquet")
    plain, much = found.to_pylist()
    assert {name: as_written(much[name]) for name in EXPECTED} == EXPECTED
    assert {plain[name] for name in EXPECTED} == {None}
    types = {"cost": "double", "cached_tokens": "int64"}
    assert {name: str(found.schema.field(name).type) for name in EXPECTED} == {
        name: types.get(name, "string") for name in EXPECTED
    }


def as_written(value: Any) -> Any:
    """Lists and objects of a value that is JSON text."""
    return json.loads(value) if isinstance(value, str) and value[0] in "[{" else value


async def test_columns_have_the_same_order_whatever_answer_comes_first(tmp_path: Path) -> None:
    await talker().arun(job(tmp_path, "out.csv", BOTH))
    names = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    fixed = ["text", "answer", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens"]
    assert names == [*fixed, *EXPECTED]


async def test_output_has_no_column_that_no_answer_needs(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "plain", "metadata": '{"cost": 1, "tool_calls": []}'}]
    await talker().arun(job(tmp_path, "out.csv", rows, keep=["text"]))
    names = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert names == ["text", "answer", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens"]


async def test_earlier_messages_and_nested_keys_do_not_make_columns(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [CALL.model_dump()], "refusal": "No.", "reasoning_content": "b"},
        {"role": "user", "content": "plain"},
    ]
    config = InferenceConfig(output_path=tmp_path / "out.csv")
    await talker().ainfer([Conversation.from_dict({"messages": chat, "metadata": {"mine": {"cost": 1}}})], config)
    names = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert names[-1] == "total_tokens"


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.csv"])
async def test_columns_of_the_input_keep_their_names(tmp_path: Path, output: str) -> None:
    rows = [{"text": "plain", "cost": "mine", "choices": 1, "answer_choices": 2, "tool_calls": 3}]
    await talker().arun(job(tmp_path, output, rows))
    assert list(loaded(tmp_path / output)[0])[:5] == ["text", "cost", "choices", "answer_choices", "tool_calls"]
    await talker().arun(job(tmp_path, output, [{**rows[0], "text": "much"}]))
    [row] = loaded(tmp_path / output)
    assert (row["cost"], float(row["answer_cost"])) == ("mine", 0.25)
    assert [int(row[name]) for name in ("choices", "answer_choices", "tool_calls")] == [1, 2, 3]
    assert as_written(row["answer_answer_choices"]) == CHOICES
    assert as_written(row["answer_tool_calls"]) == EXPECTED["tool_calls"]


def loaded(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    csv = pytest.importorskip("pandas").read_csv(path, dtype=str, keep_default_na=False)
    return csv.to_dict("records")


class Invoice(BaseModel):
    cost: float
    choices: list[str]


class Clerk(SimpleEngine):
    """Answers with an invoice, and reports what the answer costs."""

    async def _generate(self, conversation: Conversation) -> Completion:
        message = Message(role=Role.ASSISTANT, content='{"cost": 99.5, "choices": ["card"]}')
        return Completion(message, FinishReason.STOP, USAGE, {"choices": CHOICES})


async def test_properties_of_typed_answers_keep_their_names(tmp_path: Path) -> None:
    config = job(tmp_path, "out.jsonl", BOTH)
    config.generation.response_model = Invoice
    await Clerk(ModelParams(model_name="a")).arun(config)
    row, _ = read_jsonl(tmp_path / "out.jsonl")
    assert (row["cost"], row["answer_cost"]) == (99.5, 0.25)
    assert (row["choices"], row["answer_choices"]) == (["card"], CHOICES)


class Teller(SimpleEngine):
    """Gives the same answer to each row."""

    completion = Completion(MESSAGE)

    async def _generate(self, conversation: Conversation) -> Completion:
        return self.completion


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl"])
async def test_cost_of_an_answer_without_usage_has_its_column(tmp_path: Path, output: str) -> None:
    engine = Teller(ModelParams(model_name="a"))
    engine.completion = Completion(Message(role=Role.ASSISTANT, content="Hi"), metadata={"cost": 0.5})
    await engine.arun(job(tmp_path, output, BOTH[:1]))
    assert loaded(tmp_path / output)[0]["cost"] == 0.5


async def test_cost_that_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    engine = Teller(ModelParams(model_name="a"))
    engine.completion = Completion(Message(role=Role.ASSISTANT, content="Hi"), metadata={"cost": "much"})
    await engine.arun(job(tmp_path, "out.parquet", BOTH[:1]))
    assert "cost" not in loaded(tmp_path / "out.parquet")[0]


async def test_content_with_texts_only_is_in_the_column_of_the_answer_only(tmp_path: Path) -> None:
    engine = Teller(ModelParams(model_name="a"))
    texts = [{"type": "text", "content": "Hi"}, {"type": "text", "content": "there"}]
    engine.completion = Completion(Message.model_validate({"role": "assistant", "content": texts}))
    await engine.arun(job(tmp_path, "out.jsonl", BOTH[:1]))
    [row] = loaded(tmp_path / "out.jsonl")
    assert row["answer"] == "Hi there"
    assert "metadata" not in row


async def test_fields_of_the_items_of_a_content_are_kept(tmp_path: Path) -> None:
    engine = Teller(ModelParams(model_name="a"))
    texts = [{"type": "text", "content": "Hi", "annotations": ["a"]}]
    engine.completion = Completion(Message.model_validate({"role": "assistant", "content": texts}))
    await engine.arun(job(tmp_path, "out.jsonl", BOTH[:1]))
    assert loaded(tmp_path / "out.jsonl")[0]["metadata"]["message_fields"] == {"content": texts}


@pytest.mark.parametrize("name", ["answer", "finish_reason", "total_tokens"])
async def test_names_of_columns_that_every_output_has_are_an_error_before_anything_is_sent(
    tmp_path: Path, name: str
) -> None:
    engine = FakeEngine()
    with pytest.raises(ConfigError, match=f"the column '{name}' has the name of a column of the answer"):
        await engine.arun(job(tmp_path, "out.csv", [{"text": "a", name: "b"}]))
    assert not engine.asked


async def test_no_key_of_the_metadata_of_an_answer_is_left_out(tmp_path: Path) -> None:
    class Reporter(SimpleEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            metadata = {name: f"value of {name}" for name in ANSWER_METADATA}
            return Completion(Message(role=Role.ASSISTANT, content="Hi"), FinishReason.STOP, USAGE, metadata)

    await Reporter(ModelParams(model_name="a")).arun(job(tmp_path, "out.jsonl", BOTH[:1]))
    [row] = read_jsonl(tmp_path / "out.jsonl")
    assert [name for name in ANSWER_METADATA if name not in {**row, **row["metadata"]}] == []
