"""Rows with a structure are prepared and checked in a helper thread, so that they do not delay other rows."""

from __future__ import annotations

import asyncio
import json
import threading
from importlib.util import find_spec
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.structured.constraint import Constraint, ReducedStructure
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.errors import EngineDeadError, InferenceErrorType, RequestError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta
from tests.engines.local.test_engine import Counter, CountingEngine
from tests.fakes import bound

STRUCTURED = GenerationParams(guided_decoding=GuidedDecodingParams(choice=["1 "]))


class Slow(Counter):
    """Prepares a row only when the test sets `go_on`. `outcome` makes the constraint, or raises."""

    def __init__(self, outcome: Any = None) -> None:
        super().__init__()
        self.preparing, self.go_on, self.outcome = threading.Event(), threading.Event(), outcome
        self.prepared_in = ""

    def prepare(self, request: Request) -> Request:
        self.prepared_in = threading.current_thread().name
        self.preparing.set()
        self.go_on.wait()
        return request if self.outcome is None else request._replace(constraint=self.outcome())


def request(text: str, generation: GenerationParams = STRUCTURED, *, stream: bool = False) -> Request:
    conversation = Conversation(messages=[Message(role=Role.USER, content=text)])
    engine = CountingEngine()
    return Request(conversation, generation, engine._model_params, stream=stream)


def checked(schema: dict[str, Any]) -> Constraint:
    """A constraint whose grammar expresses no part of the schema."""
    structure = Structure("generation.guided_decoding.json", schema="{}")
    return Constraint(ReducedStructure(structure, full_schema=json.dumps(schema)))


async def test_slow_preparation_does_not_delay_other_rows() -> None:
    model = Slow()
    async with CountingEngine(lambda: model) as engine:
        slow = asyncio.create_task(bound(engine, request("1")).generate(request("1").conversation))
        await asyncio.to_thread(model.preparing.wait)
        assert await engine.answer("3") == "1 2 3 "
        assert not slow.done()
        model.go_on.set()
        assert (await slow).message.content == "1 "
    assert model.prepared_in.startswith("asyncinfer-helper")


async def test_row_that_cannot_be_prepared_fails_without_others() -> None:
    def refuse() -> None:
        raise RequestError("no grammar", error_type=InferenceErrorType.CONFIG)

    def panic() -> None:
        raise BaseException("panic of a native library")

    for outcome, why in ((refuse, "no grammar"), (panic, "panic of a native library")):
        model = Slow(outcome)
        model.go_on.set()
        async with CountingEngine(lambda model=model: model) as engine:
            with pytest.raises(RequestError, match=why):
                await bound(engine, request("1")).generate(request("1").conversation)
            assert await engine.answer("1") == "1 "


async def test_row_cancelled_while_it_is_prepared_is_never_added() -> None:
    model = Slow()
    async with CountingEngine(lambda: model) as engine:
        slow = asyncio.create_task(bound(engine, request("7")).generate(request("7").conversation))
        await asyncio.to_thread(model.preparing.wait)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        model.go_on.set()
        assert await engine.answer("1") == "1 "
    assert model.added == ["1"]


async def test_closing_the_engine_fails_rows_that_are_prepared_and_waits_for_the_helper() -> None:
    model = Slow()
    engine = CountingEngine(lambda: model)
    slow = asyncio.create_task(bound(engine, request("1")).generate(request("1").conversation))
    await asyncio.to_thread(model.preparing.wait)
    closing = asyncio.create_task(engine.aclose())
    await asyncio.sleep(0)  # The closing task stops the model's thread, and waits for it.
    assert not model.freed.is_set()
    model.go_on.set()
    await closing
    assert model.freed.is_set()
    with pytest.raises(EngineDeadError):
        await slow


@pytest.mark.skipif(find_spec("jsonschema") is None, reason="needs the extra llamacpp")
@pytest.mark.parametrize(("temperature", "seed", "again"), [(0.0, None, False), (1.0, None, True), (1.0, 5, False)])
async def test_answer_that_violates_its_schema_is_a_failed_row(
    temperature: float, seed: int | None, again: bool
) -> None:
    model = Slow(lambda: checked({"maximum": 0}))
    model.go_on.set()
    generation = STRUCTURED.model_copy(update={"temperature": temperature, "seed": seed})
    async with CountingEngine(lambda: model) as engine:
        with pytest.raises(
            RequestError, match=r"generation.guided_decoding.json.*1 is greater than the maximum"
        ) as caught:
            await bound(engine, request("1", generation)).generate(request("1", generation).conversation)
    assert caught.value.is_retryable is again


@pytest.mark.skipif(find_spec("jsonschema") is None, reason="needs the extra llamacpp")
async def test_answer_that_is_valid_for_its_schema_is_a_success() -> None:
    model = Slow(lambda: checked({"maximum": 1}))
    model.go_on.set()
    async with CountingEngine(lambda: model) as engine:
        assert (await bound(engine, request("1")).generate(request("1").conversation)).message.content == "1 "
        deltas = [
            delta
            async for delta in bound(engine, request("1", stream=True)).stream(request("1", stream=True).conversation)
        ]
    assert "".join(delta.content for delta in deltas) == "1 "
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.skipif(find_spec("jsonschema") is None, reason="needs the extra llamacpp")
async def test_stream_of_an_answer_that_violates_its_schema_ends_with_the_error() -> None:
    model, deltas = Slow(lambda: checked({"maximum": 0})), list[StreamDelta]()
    model.go_on.set()
    async with CountingEngine(lambda: model) as engine:
        with pytest.raises(RequestError, match="violates the schema"):
            async for delta in bound(engine, request("1", stream=True)).stream(request("1", stream=True).conversation):
                deltas.append(delta)
    assert [delta.finish_reason for delta in deltas] == [None]
