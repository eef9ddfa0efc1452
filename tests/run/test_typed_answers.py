"""Typed answers: parsed, validated, asked again, and a failure if no answer fits."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, assert_type

import pytest
from pydantic import BaseModel, Field, field_validator

from asyncinfer import (
    AttemptFailed,
    ConfigError,
    Conversation,
    DeepSeekInferenceEngine,
    FailureDetail,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceErrorType,
    InferenceFailedError,
    InvalidAnswerError,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RowFailed,
    RowFinished,
    RunEvent,
    ToolDefinition,
)
from asyncinfer.engines import typed_answers
from asyncinfer.types.stream import StreamDelta
from tests.fakes import SimpleEngine, question, read_jsonl, write_jsonl
from tests.recorder import SUCCESS, Recorder


class City(BaseModel):
    """A city. The docstring is a part of the schema."""

    name: str
    people: int = Field(ge=0)


TOKYO = '{"name": "Tokyo", "people": 14}'
CITY = City(name="Tokyo", people=14)
WRONG = '{"name": "Tokyo", "people": "many"}'
CUT = '{"name": "Tok'
ASKED = "What is the capital of Japan?"


def reply(content: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {**SUCCESS, "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}]}


def cut(content: str) -> dict[str, Any]:
    return reply(content, "length")


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def engine_at(api: Recorder, kind: type[RemoteInferenceEngine] = RemoteInferenceEngine) -> RemoteInferenceEngine:
    return kind(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=api.url, api_key="k", max_retries=0))


def typed(**more: Any) -> InferenceConfig:
    return InferenceConfig(generation=GenerationParams(response_model=City, **more))


async def test_answer_is_parsed(api: Recorder) -> None:
    api.answers(reply(TOKYO))
    answered = await engine_at(api).agenerate(ASKED, response_model=City)
    assert assert_type(answered.parsed, City) == CITY
    assert answered.text == TOKYO
    assert len(answered.messages) == 2


async def test_schema_is_sent_as_guided_decoding(api: Recorder) -> None:
    api.answers(reply(TOKYO))
    await engine_at(api).agenerate(ASKED, response_model=City)
    [sent] = api.sent
    assert sent.body["response_format"]["json_schema"] == {"name": "City", "schema": City.model_json_schema()}
    assert sent.body["messages"] == [{"role": "user", "content": ASKED}]
    assert "response_model" not in json.dumps(sent.body)


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{TOKYO}\n```",
        f"Here it is:\n\n```\n{TOKYO}\n```\nI hope that helps.",
        f"The capital is {{Tokyo}}. {TOKYO} Anything else?",
        f'The example was {{"name": "Rome"}}. The answer is {TOKYO}',
        json.dumps(TOKYO),
        f"\ufeff{TOKYO}",
    ],
)
async def test_json_may_have_text_around_it(api: Recorder, text: str) -> None:
    api.answers(reply(text))
    answered = await engine_at(api).agenerate(ASKED, response_model=City)
    assert answered.parsed == CITY
    assert len(api.sent) == 1


async def test_wrong_answer_is_asked_again_with_the_problem(api: Recorder) -> None:
    api.answers_in_turn(reply(WRONG), reply(TOKYO))
    answered = await engine_at(api).agenerate(ASKED, response_model=City)
    assert answered.parsed == CITY
    first, second = (sent.body["messages"] for sent in api.sent)
    assert second[:2] == [*first, {"role": "assistant", "content": WRONG}]
    assert second[2]["role"] == "user"
    assert "people: should be a valid integer" in second[2]["content"]


async def test_turns_of_retries_are_not_part_of_the_result_but_their_usage_is(api: Recorder) -> None:
    api.answers_in_turn(reply(WRONG), reply("No."), reply(TOKYO))
    answered = await engine_at(api).agenerate(ASKED, response_model=City)
    assert [message.content for message in answered.messages] == [ASKED, TOKYO]
    assert answered.metadata["usage"] == {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    assert answered.metadata["validation_retries"] == 2


async def test_cut_answer_is_asked_again_and_shown_in_part(api: Recorder) -> None:
    api.answers_in_turn(cut(CUT * 500), reply(TOKYO))
    answered = await engine_at(api).agenerate(ASKED, response_model=City)
    assert answered.parsed == CITY
    [_, shown, told] = api.sent[1].body["messages"]
    assert len(shown["content"]) < 1100
    assert "cut off" in told["content"]


async def test_complete_json_is_no_success_if_the_answer_was_cut_off(api: Recorder) -> None:
    api.answers(cut(TOKYO))
    with pytest.raises(InvalidAnswerError, match="City: it was cut off"):
        await engine_at(api).agenerate(ASKED, response_model=City)
    assert len(api.sent) == 3


async def test_empty_answer_is_asked_again_without_empty_messages(api: Recorder) -> None:
    api.answers_in_turn(reply(""), reply(TOKYO))
    assert (await engine_at(api).agenerate(ASKED, response_model=City)).parsed == CITY
    assert api.sent[0].body == api.sent[1].body


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_answer_that_never_fits_is_an_error_that_names_the_field(api: Recorder, retries: int) -> None:
    api.answers(reply('{"name": "Tokyo", "people": -5}'))
    with pytest.raises(InvalidAnswerError, match=r"City: people: .*greater than or equal to 0 \(found -5\)") as raised:
        await engine_at(api).agenerate(ASKED, typed(max_validation_retries=retries))
    assert len(api.sent) == retries + 1
    error = raised.value
    assert error.error_type is InferenceErrorType.INVALID_ANSWER
    assert error.usage is not None
    assert error.usage.total_tokens == 7 * (retries + 1)
    assert error.text == '{"name": "Tokyo", "people": -5}'
    restored = pickle.loads(pickle.dumps(error))
    assert (str(restored), restored.usage) == (str(error), error.usage)


async def test_refusal_and_content_filter_are_not_asked_again(api: Recorder) -> None:
    api.answers(reply(None, refusal="I will not."))
    with pytest.raises(InvalidAnswerError, match="refused to answer: I will not"):
        await engine_at(api).agenerate(ASKED, response_model=City)
    api.answers(reply(TOKYO, "content_filter"))
    with pytest.raises(InvalidAnswerError, match="content filter"):
        await engine_at(api).agenerate(ASKED, response_model=City)
    assert len(api.sent) == 2


async def test_failed_correction_tells_what_was_wrong_first(api: Recorder) -> None:
    bodies = iter([(reply(WRONG), 200), ({"error": {"message": "prompt too long"}}, 400)])
    api.answers_by_body(lambda _: next(bodies))
    with pytest.raises(Exception, match=r"people: should be .*corrected answer was not received: HTTP 400: prompt too"):
        await engine_at(api).agenerate(ASKED, response_model=City)


async def test_validators_of_the_model_are_applied_too(api: Recorder) -> None:
    class Capital(City):
        @field_validator("name")
        @classmethod
        def _is_known(cls, name: str) -> str:
            if name != "Tokyo":
                raise ValueError("should be a capital")
            return name

    api.answers_in_turn(reply('{"name": "Osaka", "people": 3}'), reply(TOKYO))
    assert (await engine_at(api).agenerate(ASKED, response_model=Capital)).parsed == Capital(name="Tokyo", people=14)
    assert "name: should be a capital (found 'Osaka')" in api.sent[1].body["messages"][-1]["content"]


async def test_validator_that_raises_something_else_fails_its_row_only(api: Recorder) -> None:
    class Faulty(City):
        @field_validator("name")
        @classmethod
        def _fail(cls, name: str) -> str:
            return {"Rome": name}[name]

    bodies = {"a": reply(TOKYO), "b": reply('{"name": "Rome", "people": 3}')}
    api.answers_by_body(lambda body: (bodies[body["messages"][-1]["content"]], 200))
    result = await engine_at(api).ainfer_partial(["a", "b"], response_model=Faulty)
    assert [index for index, _ in result.successful] == [1]
    assert "KeyError" in result.failures[0].error_message


class TestModels:
    async def test_json_schema_gives_the_json_value(self, api: Recorder) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "title": "Number"}
        api.answers_in_turn(reply('{"n": "x"}'), reply('{"n": 3}'))
        assert (await engine_at(api).agenerate(ASKED, response_model=schema)).parsed == {"n": 3}
        assert "n: 'x' is not of type 'integer'" in api.sent[1].body["messages"][-1]["content"]
        assert api.sent[0].body["response_format"]["json_schema"]["schema"] == schema

    async def test_other_types_of_pydantic_work(self, api: Recorder) -> None:
        api.answers(reply(f"[{TOKYO}]"))
        assert (await engine_at(api).agenerate(ASKED, response_model=list[City])).parsed == [CITY]

    @pytest.mark.parametrize("text", ["positive", '"positive"', " positive\n"])
    async def test_string_needs_no_quotation_marks(self, api: Recorder, text: str) -> None:
        api.answers(reply(text))
        model: Any = Literal["positive", "negative"]
        assert (await engine_at(api).agenerate(ASKED, response_model=model)).parsed == "positive"

    @pytest.mark.parametrize("model", [5, "no name", "[1]", object(), {"a": object()}])
    async def test_other_values_are_wrong_settings(self, api: Recorder, model: Any) -> None:
        with pytest.raises(ConfigError, match="response_model: "):
            await engine_at(api).agenerate(ASKED, response_model=model)
        assert not api.sent

    async def test_changed_schema_is_another_setup(self, api: Recorder) -> None:
        engine, schema = engine_at(api), {"type": "integer"}
        api.answers(reply("3"))
        assert (await engine.agenerate(ASKED, response_model=schema)).parsed == 3
        schema["type"] = "string"
        api.answers(reply('"3"'))
        assert (await engine.agenerate(ASKED, response_model=schema)).parsed == "3"

    @pytest.mark.parametrize("model", [City, Annotated[str, Field(max_length=99)], Annotated[str, ["unhashable"]]])
    async def test_type_is_prepared_once(self, api: Recorder, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        api.answers(reply(TOKYO))
        made, prepare = list[object](), typed_answers.AnswerModel
        monkeypatch.setattr(typed_answers, "AnswerModel", lambda given: made.append(given) or prepare(given))
        engine, config = engine_at(api), InferenceConfig(generation=GenerationParams(response_model=model))
        for _ in range(3):
            await engine.agenerate(ASKED, response_model=model)
            await engine.agenerate(ASKED, config)
        assert made == [model, model]


class TestEngines:
    async def test_schema_is_in_the_prompt_if_the_api_does_not_take_it(
        self, api: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.answers(reply(TOKYO))
        engine = engine_at(api, DeepSeekInferenceEngine)
        for _ in range(2):
            answered = await engine.agenerate(ASKED, response_model=City)
        assert answered.parsed == CITY
        assert [message.role for message in answered.messages] == ["user", "assistant"]
        system, user = api.sent[0].body["messages"]
        assert (system["role"], user["content"]) == ("system", ASKED)
        assert '"people":{"minimum":0' in system["content"]
        assert "response_format" not in api.sent[0].body
        warnings = [record.message for record in caplog.records if "response_model" in record.message]
        assert len(warnings) == 1
        assert "does not constrain answers to City" in warnings[0]

    async def test_own_system_prompt_comes_before_the_schema(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED}]
        answered = await engine_at(api, DeepSeekInferenceEngine).agenerate(asked, response_model=City)
        [system, _] = api.sent[0].body["messages"]
        assert system["content"].startswith("Be brief.\n\n")
        assert answered.messages[0].content == "Be brief."

    async def test_own_guided_decoding_is_sent_unchanged(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        guided = GuidedDecodingParams(json={"type": "object"})
        answered = await engine_at(api).agenerate(ASKED, typed(guided_decoding=guided))
        assert answered.parsed == CITY
        assert api.sent[0].body["response_format"]["json_schema"]["schema"] == {"type": "object"}

    async def test_strict_schema_on_request(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        await engine_at(api).agenerate(ASKED, typed(guided_decoding=GuidedDecodingParams(strict=True)))
        shape = api.sent[0].body["response_format"]["json_schema"]
        assert shape["strict"] is True
        assert shape["schema"]["additionalProperties"] is False


class TestAnswers:
    """Answers with more than a text."""

    async def test_reasoning_is_not_parsed(self, api: Recorder) -> None:
        api.answers(reply(TOKYO, reasoning_content='Is it {"name": "Kyoto", "people": 1}?'))
        answered = await engine_at(api).agenerate(ASKED, response_model=City)
        assert answered.parsed == CITY
        assert "Kyoto" in str(answered.messages[-1].reasoning_content)

    async def test_reasoning_without_an_answer_is_asked_again(self, api: Recorder) -> None:
        api.answers_in_turn(reply(None, reasoning_content=TOKYO), reply(TOKYO))
        assert (await engine_at(api).agenerate(ASKED, response_model=City)).parsed == CITY

    async def test_first_of_several_answers_is_parsed(self, api: Recorder) -> None:
        def choices(*texts: str) -> dict[str, Any]:
            return {**SUCCESS, "choices": [{**reply(text)["choices"][0], "index": i} for i, text in enumerate(texts)]}

        api.answers_in_turn(choices(TOKYO, WRONG), choices(WRONG, TOKYO), choices(TOKYO, CUT))
        engine, config = engine_at(api), typed(n=2)
        first, second = [await engine.agenerate(ASKED, config) for _ in range(2)]
        assert (first.parsed, second.parsed) == (CITY, CITY)
        for answered, other in ((first, WRONG), (second, CUT)):
            assert [choice["message"]["content"] for choice in answered.metadata["choices"]] == [TOKYO, other]
        assert len(api.sent) == 3

    async def test_streamed_refusal_and_filtered_stream_are_errors(self, api: Recorder) -> None:
        parts: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"refusal": "I will not."}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        api.streams(*[f"data: {json.dumps(part)}\n\n".encode() for part in parts], b"data: [DONE]\n\n")
        with pytest.raises(InvalidAnswerError, match="refused to answer: I will not"):
            async with engine_at(api).astream(ASKED, response_model=City) as stream:
                [delta async for delta in stream]
        api.streams(*TestStreams.events(TOKYO, "content_filter"))
        with pytest.raises(InvalidAnswerError, match="content filter"):
            async with engine_at(api).astream(ASKED, response_model=City) as stream:
                [delta async for delta in stream]
        assert len(api.sent) == 2

    async def test_schema_in_a_file_is_read_once(self, api: Recorder, tmp_path: Path) -> None:
        schema = {"type": "object", "required": ["name"]}
        path = tmp_path / "city.json"
        path.write_text(json.dumps(schema))
        api.answers(reply(TOKYO))
        engine, config = engine_at(api), InferenceConfig(generation=GenerationParams(response_model=str(path)))
        for _ in range(2):
            assert (await engine.agenerate(ASKED, config)).parsed == json.loads(TOKYO)
            path.unlink(missing_ok=True)
        assert api.sent[0].body["response_format"]["json_schema"]["schema"] == schema


def look_up(city: str) -> str:
    """Look a city up."""
    return city


class TestTools:
    CALL: ClassVar = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Tokyo"}'}}

    def asked(self) -> Conversation:
        return question(ASKED).model_copy(update={"tools": [ToolDefinition.from_callable(look_up)]})

    async def test_calls_are_not_checked(self, api: Recorder) -> None:
        api.answers(reply(None, "tool_calls", tool_calls=[self.CALL]))
        answered = await engine_at(api).agenerate(self.asked(), response_model=City)
        assert answered.parsed is None
        assert answered.messages[-1].tool_calls is not None

    async def test_final_answer_is_checked(self, api: Recorder) -> None:
        api.answers_in_turn(reply("Let me think."), reply(None, "tool_calls", tool_calls=[self.CALL]), reply(TOKYO))
        engine = engine_at(api)
        called = await engine.agenerate(self.asked(), response_model=City)
        assert called.metadata["validation_retries"] == 1
        messages = [*called.messages, {"role": "tool", "tool_call_id": "1", "content": "Tokyo"}]
        asked = Conversation(messages=messages, tools=called.tools)
        assert (await engine.agenerate(asked, response_model=City)).parsed == CITY

    async def test_api_that_cannot_combine_tools_and_a_schema_gets_the_schema_in_the_prompt(
        self, api: Recorder
    ) -> None:
        api.answers(reply(TOKYO))
        await engine_at(api).agenerate(self.asked(), response_model=City)
        assert "response_format" not in api.sent[0].body
        assert api.sent[0].body["messages"][0]["role"] == "system"

    async def test_openai_gets_both(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        await engine_at(api, OpenAIInferenceEngine).agenerate(self.asked(), response_model=City)
        body = api.sent[0].body
        assert (body["response_format"]["type"], len(body["messages"]), len(body["tools"])) == ("json_schema", 1, 1)


class TestStreams:
    @staticmethod
    def events(text: str, reason: str = "stop") -> list[bytes]:
        middle = len(text) // 2
        parts: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": part}}]} for part in (text[:middle], text[middle:])
        ]
        parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        return [f"data: {json.dumps(part)}\n\n".encode() for part in parts] + [b"data: [DONE]\n\n"]

    async def test_last_part_has_the_typed_answer(self, api: Recorder) -> None:
        api.streams(*self.events(TOKYO))
        async with engine_at(api).astream(ASKED, response_model=City) as stream:
            deltas = [delta async for delta in stream]
        assert "".join(delta.content for delta in deltas) == TOKYO
        assert [delta.parsed for delta in deltas] == [*[None] * (len(deltas) - 1), CITY]
        assert deltas[-1].finish_reason == "stop"

    @pytest.mark.parametrize(("text", "reason"), [(WRONG, "stop"), (TOKYO, "length")])
    async def test_answer_that_does_not_fit_is_an_error_in_place_of_the_last_part(
        self, api: Recorder, text: str, reason: str
    ) -> None:
        api.streams(*self.events(text, reason))
        deltas: list[StreamDelta] = []
        with pytest.raises(InvalidAnswerError, match="does not fit City"):
            async with engine_at(api).astream(ASKED, response_model=City) as stream:
                async for delta in stream:
                    deltas.append(delta)
        assert "".join(delta.content for delta in deltas) == text
        assert not any(delta.finish_reason for delta in deltas)
        assert len(api.sent) == 1

    async def test_answer_is_whole_if_the_engine_gives_no_finish_reason(self) -> None:
        class Unfinished(SimpleEngine):
            async def _parts(self) -> AsyncIterator[StreamDelta]:
                for part in ("a", "b"):
                    yield StreamDelta(content=part)

            def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
                return self._parts()

        async with Unfinished(ModelParams(model_name="m")).astream(ASKED, response_model=str) as stream:
            deltas = [delta async for delta in stream]
        assert [(delta.content, delta.parsed) for delta in deltas] == [("a", None), ("b", None), ("", "ab")]


class TestRuns:
    @pytest.fixture(autouse=True)
    def answers(self, api: Recorder) -> None:
        """`good` is answered well, `late` only after its problem was shown, `bad` never."""

        def answer(body: Any) -> tuple[Any, int]:
            messages = body["messages"]
            first = messages[0]["content"]
            return reply(TOKYO if first == "good" or (first == "late" and len(messages) > 1) else WRONG), 200

        api.answers_by_body(answer)

    async def test_rows_that_never_fit_fail(self, api: Recorder) -> None:
        result = await engine_at(api).ainfer_partial(["good", "late", "bad"], response_model=City)
        assert_type(result.successful[0][1].parsed, City)
        assert [(index, answered.parsed) for index, answered in result.successful] == [(0, CITY), (1, CITY)]
        failure = result.failures[2]
        assert failure.error_type is InferenceErrorType.INVALID_ANSWER
        assert failure.error_message.startswith("the answer does not fit City: people: should be a valid integer")
        assert failure.is_retryable
        assert len(api.sent) == 1 + 2 + 3

    async def test_ainfer_raises_after_the_others_are_finished(self, api: Recorder) -> None:
        with pytest.raises(InferenceFailedError, match="does not fit City") as raised:
            await engine_at(api).ainfer(["good", "bad"], response_model=City)
        assert [answered.parsed for _, answered in raised.value.result.successful] == [CITY]

    async def test_single_row_is_checked_like_a_run(self, api: Recorder) -> None:
        [answered] = await engine_at(api).ainfer(["late"], response_model=City)
        assert assert_type(answered.parsed, City) == CITY

    async def test_rows_arrive_typed_one_by_one(self, api: Recorder) -> None:
        async with engine_at(api).ainfer_iter(["good", "bad", "late"], response_model=City) as outcomes:
            found = {index: outcome async for index, outcome in outcomes}
        assert isinstance(found[1], FailureDetail)
        assert [found[index].parsed for index in (0, 2) if isinstance(found[index], Conversation)] == [CITY, CITY]

    async def test_events_count_every_answer(self, api: Recorder) -> None:
        events: list[RunEvent] = []
        await engine_at(api).ainfer_partial(["late", "bad"], response_model=City, observers=[events.append])
        finished = [event for event in events if isinstance(event, RowFinished)]
        failed = [event for event in events if isinstance(event, RowFailed)]
        rejected = [event for event in events if isinstance(event, AttemptFailed)]
        assert [event.usage.total_tokens for event in (*finished, *failed) if event.usage] == [14, 21]
        assert sorted((event.index, event.retry_after is None) for event in rejected) == [
            (0, False),
            (1, False),
            (1, False),
            (1, True),
        ]

    async def test_summary_counts_the_usage_of_rejected_answers(self, api: Recorder, tmp_path: Path) -> None:
        source = write_jsonl(tmp_path / "in.jsonl", [question(text) for text in ("good", "late", "bad")])
        config = typed()
        config.input_path, config.output_path = str(source), str(tmp_path / "out.jsonl")
        summary = await engine_at(api).arun(config)
        assert (summary.completed, summary.failed, summary.usage.total_tokens) == (2, 1, 42)
        rows = read_jsonl(tmp_path / "out.jsonl")
        assert [row["messages"][-1]["content"] for row in rows] == [TOKYO, TOKYO]
        assert "parsed" not in json.dumps(rows)
        [failed] = read_jsonl(tmp_path / "out.jsonl.failures.jsonl")
        assert failed["metadata"]["failure"]["error_type"] == "invalid_answer"

    async def test_resumed_rows_are_parsed_from_the_saved_answer(self, api: Recorder) -> None:
        engine = engine_at(api)
        for _ in range(2):
            result = await engine.ainfer_partial(["good", "late", "bad"], response_model=City)
            assert [answered.parsed for _, answered in result.successful] == [CITY, CITY]
        assert len(api.sent) == 6 + 3  # Only the failed row is asked again.

    async def test_reused_rows_are_parsed_too(self, api: Recorder, tmp_path: Path) -> None:
        config = InferenceConfig(output_path=tmp_path / "out.jsonl", reuse_output=True)
        for _ in range(2):
            answers = await engine_at(api).ainfer(["good", "late"], config, response_model=City)
            assert [answered.parsed for answered in answers] == [CITY, CITY]
        assert len(api.sent) == 3

    async def test_another_model_is_another_row(self, api: Recorder) -> None:
        class Place(City):
            pass

        engine = engine_at(api)
        for model in (City, Place, dict[str, Any], None):
            await engine.ainfer_partial(["good", "good too"], response_model=model)
        assert len(api.sent) > 3 * 2

    async def test_saved_answer_that_no_longer_fits_is_sent_again(self, api: Recorder) -> None:
        accepted = ["Tokyo"]

        class Known(City):
            @field_validator("name")
            @classmethod
            def _is_known(cls, name: str) -> str:
                if name not in accepted:
                    raise ValueError("should be known")
                return name

        engine = engine_at(api)
        await engine.ainfer(["good", "late"], typed(), response_model=Known)
        accepted.clear()
        result = await engine.ainfer_partial(["good", "late"], typed(), response_model=Known)
        assert len(result.failures) == 2


class TestConversations:
    async def test_typed_answer_is_no_part_of_equality_json_and_repr(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        answered = await engine_at(api).agenerate(ASKED, response_model=City)
        plain = Conversation.from_json(answered.to_json())
        assert answered == plain
        assert plain.parsed is None
        assert repr(answered) == repr(plain)
        assert answered.model_dump() == plain.model_dump()
        assert copy.deepcopy(answered).parsed == pickle.loads(pickle.dumps(answered)).parsed == CITY

    async def test_next_answer_does_not_keep_it(self, api: Recorder) -> None:
        api.answers(reply(TOKYO))
        engine = engine_at(api)
        answered = await engine.agenerate(ASKED, response_model=City)
        answered.messages.append(question("And of Italy?").messages[0])
        assert (await engine.agenerate(answered)).parsed is None

    def test_parametrised_class_is_the_class_itself(self) -> None:
        assert Conversation[City] is Conversation

    def test_row_may_have_a_key_of_that_name(self) -> None:
        row = {"messages": [{"role": "user", "content": "a"}], "parsed": 5}
        assert Conversation.from_dict(row).to_dict() == row
        assert Conversation.from_dict(row).parsed is None


async def test_engine_may_have_a_response_model(api: Recorder) -> None:
    api.answers(reply(TOKYO))
    engine = RemoteInferenceEngine(
        ModelParams(model_name="m"),
        generation_params=GenerationParams(response_model=City),
        remote_params=RemoteParams(api_url=api.url),
    )
    assert (await engine.agenerate(ASKED)).parsed == CITY


def test_blocking_twins_take_a_response_model() -> None:
    from tests.fakes import FakeEngine

    engine = FakeEngine()
    assert engine.generate("a", response_model=str).parsed == "answer to a"
    assert [answered.parsed for answered in engine.infer(["a", "b"], response_model=str)] == [
        "answer to a",
        "answer to b",
    ]
    assert engine.infer_partial(["a"], response_model=str).successful[0][1].parsed == "answer to a"
    [(_, outcome)] = engine.infer_iter(["a"], response_model=str)
    assert isinstance(outcome, Conversation)
    assert outcome.parsed == "answer to a"
    assert list(engine.stream("a", response_model=str))[-1].parsed == "answer to a"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"$ref": "#"}, "the reference '#' leads back to itself"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "the schema has nothing at '#/$defs/none'"),
        ({"properties": {"a": {"pattern": "("}}}, "is not a regular expression"),
    ],
)
async def test_invalid_json_schema_is_an_error_before_anything_is_sent(
    api: Recorder, schema: dict[str, Any], problem: str
) -> None:
    config = InferenceConfig(generation=GenerationParams(response_model=schema))
    message = f"response_model: is not a valid JSON schema: .*{re.escape(problem)}"
    async with engine_at(api) as engine:
        with pytest.raises(ConfigError, match=message):
            await engine.agenerate(ASKED, config)
        with pytest.raises(ConfigError, match=message):
            await engine.ainfer([ASKED, ASKED], response_model=schema)
        result = await engine.ainfer_partial([ASKED, ASKED], response_model=schema)
        assert [failure.error_type for failure in result.failures.values()] == [InferenceErrorType.CONFIG] * 2
    assert not api.sent


async def test_answer_that_cannot_be_checked_is_not_asked_again(api: Recorder) -> None:
    api.answers(reply(json.dumps("a" * 60 + "b")))
    schema = {"type": "string", "pattern": "^(a|a)*$"}
    result = await engine_at(api).ainfer_partial([ASKED, f"{ASKED}!"], response_model=schema)
    for failure in result.failures.values():
        assert failure.error_message.startswith("the answer cannot be validated: TimeoutError: ")
        assert (failure.error_type, failure.is_retryable) == (InferenceErrorType.RUNTIME, False)
    assert len(api.sent) == 2
