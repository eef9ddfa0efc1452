"""Rows with settings of their own: `generation` and `model_name`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import (
    Conversation,
    FailureDetail,
    GenerationParams,
    InferenceConfig,
    InferenceFailedError,
    InputError,
    InputParams,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.config.row_key import hashed_fields
from tests.fakes import FakeEngine, question, read_jsonl
from tests.recorder import Recorder


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def engine_at(api: Recorder, **remote: Any) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(
        ModelParams(model_name="m"),
        generation_params=GenerationParams(max_new_tokens=8),
        remote_params=RemoteParams(api_url=api.url, max_retries=0, **remote),
    )


def sent_by_text(api: Recorder) -> dict[str, Any]:
    return {sent.body["messages"][-1]["content"]: sent.body for sent in api.sent}


WARM = {"temperature": 1.0, "seed": 5}
ROWS = [question("a"), question("b", generation=WARM), question("c", model_name="other", generation={"top_p": 0.5})]


async def test_settings_of_a_row_override_those_of_the_call(api: Recorder) -> None:
    call = InferenceConfig(generation=GenerationParams(temperature=0.2))
    answers = await engine_at(api).ainfer(ROWS, call)
    sent = sent_by_text(api)
    assert {text: (body["model"], body["temperature"], body["max_tokens"]) for text, body in sent.items()} == {
        "a": ("m", 0.2, 8),
        "b": ("m", 1.0, 8),
        "c": ("other", 0.2, 8),
    }
    assert (sent["b"]["seed"], sent["c"]["top_p"]) == (5, 0.5)
    assert [answer.generation for answer in answers] == [None, WARM, {"top_p": 0.5}]


async def test_single_calls_and_streams_use_them_too(api: Recorder) -> None:
    engine = engine_at(api)
    await engine.agenerate(ROWS[1])
    await engine.ainfer([ROWS[2]])
    api.streams(b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n')
    async with engine.astream(question("d", model_name="third")) as stream:
        assert [delta async for delta in stream]
    assert [sent.body["model"] for sent in api.sent] == ["m", "other", "third"]
    assert api.sent[0].body["temperature"] == 1.0


async def test_file_may_have_them_and_output_keeps_them(api: Recorder, tmp_path: Path) -> None:
    rows = [json.dumps({"messages": [{"role": "user", "content": "a"}], "generation": WARM, "model_name": "other"})]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    job = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / "out.jsonl")
    await engine_at(api).arun(job)
    [row] = read_jsonl(tmp_path / "out.jsonl")
    assert (row["generation"], row["model_name"]) == (WARM, "other")
    assert api.sent[0].body["model"] == "other"


async def test_columns_of_a_table_may_have_them(api: Recorder, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,heat,model\na,1.0,other\nb,,\nc,hot,\n")
    columns = InputParams(prompt="{{ text }}", model_name="model", generation={"temperature": "heat"})
    job = InferenceConfig(input_path=tmp_path / "in.csv", output_path=tmp_path / "out.csv", input=columns)
    summary = await engine_at(api).arun(job)
    sent = {text: (body["model"], body["temperature"]) for text, body in sent_by_text(api).items()}
    assert sent == {"a": ("other", 1.0), "b": ("m", 0.0)}
    [(_, failure)] = summary.failure_samples
    assert failure.error_message.startswith("row 2 (line 4): generation.temperature: should be a valid number")


async def test_they_are_part_of_the_key(api: Recorder) -> None:
    engine = engine_at(api)
    call = InferenceConfig(generation=GenerationParams(temperature=1.0, seed=5))
    keys = [(await engine._setup_for(config)).keys(row) for config, row in [(None, ROWS[1]), (call, question("b"))]]
    assert keys[0] == keys[1]
    changed = [question("b"), question("b", model_name="x"), question("b", generation={"seed": 6})]
    assert len({keys[0], *[(await engine._setup_for(None)).keys(row) for row in changed]}) == 4


async def test_changed_settings_send_their_row_again(api: Recorder, tmp_path: Path) -> None:
    engine, kept = engine_at(api), InferenceConfig(output_path=tmp_path / "out.jsonl", reuse_output=True)
    await engine.ainfer(ROWS, kept)
    await engine.ainfer(ROWS, kept)
    assert len(api.sent) == 3
    await engine.ainfer([*ROWS[:2], question("c", model_name="other", generation={"top_p": 0.6})], kept)
    assert [sent.body["top_p"] for sent in api.sent[3:]] == [0.6]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"generation": {"temprature": 1}}, "generation.temprature: unknown key; did you mean 'temperature'?"),
    ({"generation": {"temperature": -1}}, r"generation.temperature: should be greater than or equal to 0 \(found -1\)"),
    ({"generation": "an answer"}, r"generation: should be a mapping of settings \(found a str\)"),
    ({"generation": {"response_model": "os:path"}}, "generation.response_model: should be a JSON schema"),
    ({"model_name": 5}, r"model_name: should be the name of a model \(found 5\)"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
async def test_wrong_settings_fail_their_row_only(api: Recorder, wrong: dict[str, Any], message: str) -> None:
    rows = [question("a"), question("b", **wrong)]
    result = await engine_at(api).ainfer_partial(rows)
    assert [index for index, _ in result.successful] == [0]
    failure = result.failures[1]
    assert failure.error_message.startswith("row 1: ")
    assert (failure.is_retryable, failure.error_type) == (False, "config")
    with pytest.raises(InferenceFailedError, match=f"row 1: row 1: {message}"):
        await engine_at(api).ainfer(rows)
    with pytest.raises(InferenceFailedError, match=message):
        await engine_at(api).ainfer([rows[1]])
    with pytest.raises(InputError, match=message):
        await engine_at(api).agenerate(rows[1])
    async with engine_at(api).ainfer_iter(rows) as outcomes:
        found = {index: outcome async for index, outcome in outcomes}
    assert isinstance(found[1], FailureDetail)
    assert "row 1: " in found[1].error_message


async def test_line_of_a_row_with_wrong_settings_is_named(api: Recorder, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('\n{"messages": [{"role": "user", "content": "a"}], "model_name": ""}\n')
    job = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / "out.jsonl")
    summary = await engine_at(api).arun(job)
    [(_, failure)] = summary.failure_samples
    assert failure.error_message.startswith("row 0 (line 2): model_name: should be the name of a model")


async def test_settings_that_the_engine_refuses_fail_their_row_only(api: Recorder) -> None:
    rows = [question("a"), question("b", generation={"guided_decoding": {"regex": "a+"}})]
    result = await engine_at(api).ainfer_partial(rows)
    assert "guided_decoding.regex: this API supports only json" in result.failures[1].error_message
    assert len(result.successful) == 1


async def test_endpoints_with_own_model_names_take_no_other(api: Recorder) -> None:
    engine = RemoteInferenceEngine(
        ModelParams(model_name="m"),
        remote_params=RemoteParams.model_validate({"endpoints": [{"api_url": api.url, "model_name": "own"}]}),
    )
    with pytest.raises(InputError, match="model_name: the endpoints have model names of their own"):
        await engine.agenerate(question("a", model_name="other"))


async def test_row_may_have_a_schema_for_its_typed_answer(api: Recorder, tmp_path: Path) -> None:
    kept = InferenceConfig(output_path=tmp_path / "out.jsonl", reuse_output=True)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = {"choices": [{"index": 0, "message": {"content": '{"n": 3}'}, "finish_reason": "stop"}]}
    api.answers(answer)
    rows = [question("a"), question("b", generation={"response_model": schema})]
    for _ in range(2):  # The second time, from the saved answers.
        answers = await engine_at(api).ainfer(rows, kept)
        assert [answered.parsed for answered in answers] == [None, {"n": 3}]
    assert len(api.sent) == 2


async def test_rows_with_equal_settings_are_prepared_once() -> None:
    engine = FakeEngine()
    access = await engine.access()
    rows = [question(str(number), generation={"seed": 1}) for number in range(3)]
    assert len({id(access.of(row)) for row in rows}) == 1
    assert access.of(question("a")) is access


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "seed": st.integers(0, 9),
            "n": st.integers(1, 9),
            "top_k": st.integers(-1, 9),
            "repetition_penalty": st.floats(0.1, 2),
            "reasoning_effort": st.sampled_from(["low", "high"]),
            "stop_strings": st.lists(st.text(min_size=1), max_size=2),
        },
    )
)
async def test_settings_in_effect_are_those_of_the_call_and_then_of_the_row(own: dict[str, Any]) -> None:
    access = await FakeEngine().access(InferenceConfig(generation=GenerationParams(temperature=0.5, seed=3)))
    generation = access.of(question("a", generation=own, model_name="m")).settings.generation
    expected = GenerationParams(**{"temperature": 0.5, "seed": 3, **own})
    assert {name: getattr(generation, name) for name in hashed_fields(GenerationParams)} == {
        name: getattr(expected, name) for name in hashed_fields(GenerationParams)
    }


def test_conversation_without_settings_is_written_without_them() -> None:
    assert question("a").to_dict() == {"messages": [{"role": "user", "content": "a"}]}
    assert Conversation.from_dict(ROWS[2].to_dict()) == ROWS[2]
