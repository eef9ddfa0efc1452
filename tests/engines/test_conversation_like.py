"""A text or a list of messages is accepted wherever a conversation is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from asyncinfer import Conversation, FailureDetail, InputError, Message, Role
from tests.fakes import FakeEngine, question

FORMS: list[Any] = [
    "hi",
    [{"role": "user", "content": "hi"}],
    ({"role": "user", "content": "hi"},),
    [Message(role=Role.USER, content="hi")],
    {"messages": [{"role": "user", "content": "hi"}]},
    question("hi"),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
class TestForms:
    async def test_one_answer(self, form: Any) -> None:
        answered = await FakeEngine().agenerate(form)
        assert [m.content for m in answered.messages] == ["hi", "answer to hi"]
        assert "".join([d.content async for d in FakeEngine().astream(form)]) == "answer to hi"

    def test_blocking_methods(self, form: Any) -> None:
        assert FakeEngine().generate(form).text == "answer to hi"
        assert "".join(d.content for d in FakeEngine().stream(form)) == "answer to hi"
        assert [c.text for c in FakeEngine().infer([form])] == ["answer to hi"]

    async def test_many_answers(self, form: Any) -> None:
        assert [c.text for c in await FakeEngine().ainfer([form])] == ["answer to hi"]
        assert [c.text for c in await FakeEngine().ainfer([form, "b"])] == ["answer to hi", "answer to b"]
        assert len((await FakeEngine().ainfer_partial([form, "b"])).successful) == 2
        assert [o async for _, o in FakeEngine().ainfer_iter([form])]


@pytest.mark.parametrize("one", ["hi", b"hi", question("hi"), Message(role=Role.USER, content="hi"), {"messages": []}])
async def test_one_conversation_where_many_are_wanted_is_an_error(one: Any) -> None:
    engine = FakeEngine()
    for method in (engine.ainfer, engine.ainfer_partial):
        with pytest.raises(InputError, match=r"input should be a list of conversations.*pass \[conversation\]"):
            await method(one)
    with pytest.raises(InputError, match="source should be a list of conversations"):
        engine.ainfer_iter(one)
    assert not engine.asked


async def test_list_of_messages_where_many_conversations_are_wanted_is_an_error() -> None:
    engine, messages = FakeEngine(), [{"role": "user", "content": "hi"}]
    with pytest.raises(InputError, match=r"row 0: this is one message; a conversation is a list of messages"):
        await engine.ainfer(cast(Any, messages))
    assert not engine.asked


@pytest.mark.parametrize("wrong", [None, 3, b"hi", [], [3], [[]], [question("hi")], {}, {"role": "user"}])
async def test_anything_else_is_an_error_that_says_what_is_accepted(wrong: Any) -> None:
    engine = FakeEngine()
    with pytest.raises(InputError, match="conversation"):
        await engine.agenerate(wrong)
    with pytest.raises(InputError, match="conversation"):
        engine.astream(wrong)
    with pytest.raises(InputError):
        await engine.ainfer([wrong])
    assert not engine.asked


async def test_rows_of_a_source_may_have_any_form() -> None:
    async def source() -> AsyncIterator[Any]:
        for form in (*FORMS, 3):
            yield form

    outcomes = dict([o async for o in FakeEngine().ainfer_iter(source())])
    assert isinstance(outcomes.pop(len(FORMS)), FailureDetail)
    assert all(isinstance(outcome, Conversation) for outcome in outcomes.values())


async def test_what_the_caller_passes_is_not_changed() -> None:
    messages = [{"role": "user", "content": "hi"}]
    await FakeEngine().agenerate(messages)
    assert messages == [{"role": "user", "content": "hi"}]
