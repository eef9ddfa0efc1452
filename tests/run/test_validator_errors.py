"""Validators of typed answers that raise errors of any kind. Each costs one row, and never the run or the process."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, Field

from asyncinfer import (
    Conversation,
    FailureDetail,
    GenerationParams,
    InferenceConfig,
    InferenceErrorType,
    InvalidAnswerError,
    RowFailed,
    RunEvent,
)
from asyncinfer.config.response_model import name_of
from asyncinfer.run.answer_model import AnswerModel, UncheckedValueError
from tests.fakes import FakeEngine, answer_to, question, read_jsonl, write_jsonl


class Panic(BaseException):
    """As the panics of extensions in Rust."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


ERRORS: dict[str, BaseException] = {
    "SystemExit: 3": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "StopIteration": StopIteration(),
    "Panic: broken": Panic("broken"),
    "MemoryError": MemoryError(),
    "RecursionError: deep": RecursionError("deep"),
    "RuntimeError: boom": RuntimeError("boom"),
    "KeyError: 'a'": KeyError("a"),
    "Mute: (its text cannot be shown)": Mute(),
}
every_error = pytest.mark.parametrize(
    ("raised", "error"), ERRORS.items(), ids=[type(e).__name__ for e in ERRORS.values()]
)
FAULTY = "b"


def model_that_raises(error: BaseException | None) -> Any:
    """A type of answers whose validator raises for the answer to one question."""

    def validate(text: str) -> str:
        if error is not None and text == answer_to(FAULTY):
            raise error
        return text

    return Annotated[str, AfterValidator(validate)]


def check_failure(failure: FailureDetail, raised: str) -> None:
    assert failure.error_message.startswith("the answer cannot be validated: a validator of ")
    assert failure.error_message.endswith(f" raised {raised}")
    assert (failure.error_type, failure.is_retryable) == (InferenceErrorType.RUNTIME, False)


@every_error
async def test_row_fails_and_the_others_are_answered(raised: str, error: BaseException) -> None:
    engine, events = FakeEngine(), list[RunEvent]()
    result = await engine.ainfer_partial(
        ["a", FAULTY, "c"], response_model=model_that_raises(error), observers=[events.append]
    )
    assert [answered.parsed for _, answered in result.successful] == [answer_to("a"), answer_to("c")]
    check_failure(result.failures[1], raised)
    assert engine.asked[FAULTY] == 1
    [failed] = [event for event in events if isinstance(event, RowFailed)]
    assert failed.usage is not None
    assert failed.usage.total_tokens == 7


@every_error
async def test_single_call_and_stream_raise_an_error_with_that_cause(raised: str, error: BaseException) -> None:
    engine, model = FakeEngine(), model_that_raises(error)
    with pytest.raises(InvalidAnswerError) as called:
        await engine.agenerate(FAULTY, response_model=model)
    with pytest.raises(InvalidAnswerError) as streamed:
        async with engine.astream(FAULTY, response_model=model) as stream:
            [delta async for delta in stream]
    for caught in (called.value, streamed.value):
        assert str(caught).endswith(f" raised {raised}")
        assert caught.__cause__ is error
        assert caught.text == answer_to(FAULTY)
        assert pickle.loads(pickle.dumps(caught)).error_type is InferenceErrorType.RUNTIME
    assert engine.asked[FAULTY] == 2


@every_error
async def test_iteration_goes_on(raised: str, error: BaseException) -> None:
    async with FakeEngine().ainfer_iter(["a", FAULTY, "c"], response_model=model_that_raises(error)) as outcomes:
        found = {index: outcome async for index, outcome in outcomes}
    failure = found[1]
    assert isinstance(failure, FailureDetail)
    check_failure(failure, raised)
    assert isinstance(found[0], Conversation)
    assert isinstance(found[2], Conversation)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_blocking_calls_return_and_the_next_one_works(error: BaseException) -> None:
    engine, model = FakeEngine(), model_that_raises(error)
    assert list(engine.infer_partial(["a", FAULTY], response_model=model).failures) == [1]
    with pytest.raises(InvalidAnswerError):
        engine.generate(FAULTY, response_model=model)
    with pytest.raises(InvalidAnswerError):
        list(engine.stream(FAULTY, response_model=model))
    assert dict(engine.infer_iter([FAULTY], response_model=model)).keys() == {0}
    assert engine.generate("a").text == answer_to("a")


async def test_file_has_the_other_rows(tmp_path: Path) -> None:
    generation = GenerationParams(response_model=model_that_raises(SystemExit(3)))
    config = InferenceConfig(
        input_path=str(write_jsonl(tmp_path / "in.jsonl", [question(text) for text in ("a", FAULTY, "c")])),
        output_path=str(tmp_path / "out.jsonl"),
        generation=generation,
    )
    summary = await FakeEngine().arun(config)
    assert (summary.completed, summary.failed) == (2, 1)
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2
    [failed] = read_jsonl(tmp_path / "out.jsonl.failures.jsonl")
    assert failed["metadata"]["failure"]["error_message"].endswith("raised SystemExit: 3")


class TestSavedAnswers:
    """Saved answers are validated again. One that cannot be is neither lost nor sent again."""

    @pytest.fixture
    def faults(self) -> list[BaseException]:
        return []

    @pytest.fixture
    def model(self, faults: list[BaseException]) -> Any:
        def validate(text: str) -> str:
            if faults and text == answer_to(FAULTY):
                raise faults[0]
            return text

        return Annotated[str, AfterValidator(validate)]

    @pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("boom")], ids=repr)
    async def test_row_fails_without_a_request_and_succeeds_once_the_validator_works(
        self, faults: list[BaseException], model: Any, error: BaseException, tmp_path: Path
    ) -> None:
        config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))

        def refuse_c(text: str, _: int) -> None:
            if text == "c":
                raise ConnectionError  # The run is not complete, so its answers stay in the scratch file.

        rows = ["a", FAULTY, "c"]
        assert (await FakeEngine(refuse_c).ainfer_partial(rows, config, response_model=model)).failed_indices == [2]
        faults.append(error)
        engine = FakeEngine(refuse_c)
        result = await engine.ainfer_partial(rows, config, response_model=model)
        assert result.failed_indices == [1, 2]
        check_failure(result.failures[1], f"{type(error).__name__}: {error}")
        assert engine.asked.keys() == {"c"}
        faults.clear()
        engine = FakeEngine()
        answers = await engine.ainfer(rows, config, response_model=model)
        assert [answered.parsed for answered in answers] == [answer_to(text) for text in rows]
        assert engine.asked.keys() == {"c"}

    async def test_iteration_fails_the_row_without_a_request(
        self, faults: list[BaseException], model: Any, tmp_path: Path
    ) -> None:
        config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), reuse_output=True)
        await FakeEngine().ainfer(["a", FAULTY], config, response_model=model)
        faults.append(SystemExit(3))
        engine = FakeEngine()
        found = {i: row async for i, row in engine.ainfer_iter(["a", FAULTY], config, response_model=model)}
        failure = found[1]
        assert isinstance(failure, FailureDetail)
        check_failure(failure, "SystemExit: 3")
        assert not engine.asked

    async def test_cached_answer_is_validated_too(
        self, faults: list[BaseException], model: Any, tmp_path: Path
    ) -> None:
        config = InferenceConfig(cache=True, cache_path=tmp_path / "cache.sqlite3")
        await FakeEngine().ainfer(["a", FAULTY], config, response_model=model)
        faults.append(SystemExit(3))
        result = await FakeEngine().ainfer_partial(["a", FAULTY], config, response_model=model)
        assert result.failed_indices == [1]
        with pytest.raises(InvalidAnswerError, match="raised SystemExit: 3"):
            await FakeEngine().agenerate(FAULTY, config, response_model=model)


def no_number() -> int:
    raise ValueError("there is no number")


class Numbered(BaseModel):
    n: int = Field(default_factory=no_number)


class Unshown(BaseModel):
    n: Annotated[int, AfterValidator(lambda _: (_ for _ in ()).throw(type("Odd", (ValueError, Mute), {})()))]


@pytest.mark.parametrize(
    ("model", "text", "raised"),
    [
        (Numbered, "{}", "ValueError: there is no number"),
        (Numbered, "It is {}.", "ValueError: there is no number"),
        (Unshown, '{"n": 1}', "ZeroDivisionError"),
    ],
)
def test_code_around_validators_may_raise_too(model: type[BaseModel], text: str, raised: str) -> None:
    with pytest.raises(UncheckedValueError, match=f"a validator of {name_of(model)} raised {raised}"):
        AnswerModel(model).parse(text)
