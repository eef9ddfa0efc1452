"""Answers that cannot be encoded as JSON, or could not be read again, are never saved unchanged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import Conversation, FailureDetail, FinishReason, InferenceConfig, InputError, Message, Role
from asyncinfer.run.items import item_of
from asyncinfer.scratch.format import encode, is_readable
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, question, questions, read_jsonl

DIGITS = 10**4400
HALF_CHARACTER = "\ud800"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


UNSAVABLE: dict[str, Any] = {
    "nested 210 deep": nested(210),
    "nested 400 deep": nested(400),
    "lists 250 deep": [[[nested(250)]]],
    "an integer of 4401 digits": DIGITS,
    "an integer of 5000 digits in a list": [1, {"n": -(10**5000)}],
    "half a character": HALF_CHARACTER,
    "an object": object(),
    "bytes that are no text": b"\xff",
}
by_name = pytest.mark.parametrize("value", UNSAVABLE.values(), ids=UNSAVABLE)


class OddEngine(FakeEngine):
    """Answers `question 1` with the given metadata, or extra keys of the message."""

    def __init__(self, metadata: Any = None, extra: Any = None) -> None:
        super().__init__()
        self._metadata, self._extra = metadata, extra

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        if conversation.messages[-1].content == "question 1":
            if self._extra is not None:
                extra = Message.model_validate({"role": Role.ASSISTANT, "content": "odd", **self._extra})
                return Completion(extra, FinishReason.STOP)
            completion.metadata = self._metadata
        return completion


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    return InferenceConfig(output_path=str(tmp_path / "out.jsonl"))


@by_name
async def test_answer_metadata_that_cannot_be_saved_is_dropped_and_reported(
    config: InferenceConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    caplog.set_level(logging.WARNING)
    answered = await OddEngine({"odd": value, "fine": 1}).ainfer(questions(3), config)
    metadata = read_jsonl(tmp_path / "out.jsonl")[1]["metadata"]
    assert metadata["fine"] == 1
    assert metadata["unsaved_metadata"] == ["odd"]
    assert "odd" not in metadata
    assert answered[1].metadata == metadata
    assert "row 1: metadata that JSON cannot hold are not saved: odd" in caplog.text


@by_name
async def test_an_answer_that_cannot_be_saved_fails_its_row_alone(
    config: InferenceConfig, tmp_path: Path, value: Any
) -> None:
    result = await OddEngine(extra={"odd": value}).ainfer_partial(questions(3), config)
    assert result.failed_indices == [1]
    assert "the answer cannot be saved as JSON" in result.failures[1].error_message
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2


@by_name
async def test_input_metadata_that_cannot_be_saved_is_an_error_before_any_request(
    config: InferenceConfig, value: Any
) -> None:
    engine = FakeEngine()
    rows = [question("a"), question("b", metadata={"odd": value})]
    with pytest.raises(InputError, match="row 1: it cannot be saved as JSON"):
        await engine.ainfer(rows, config)
    outcomes = {i: outcome async for i, outcome in engine.ainfer_iter(rows)}
    assert isinstance(outcomes[0], Conversation)
    assert isinstance(outcomes[1], FailureDetail)
    assert engine.asked.keys() == {"a"}


async def test_largest_readable_answer_is_saved_and_resumed(config: InferenceConfig, tmp_path: Path) -> None:
    rows = [question("a", metadata={"deep": nested(198), "long": 10**4299}), question("b")]
    await FakeEngine().ainfer(rows, config)
    engine = FakeEngine()
    again = await engine.ainfer(rows, config.model_copy(update={"reuse_output": True}))
    assert engine.asked.total() == 0
    assert again[0].metadata["long"] == 10**4299


@pytest.mark.parametrize(
    "saved",
    [
        b'{"messages":[],"metadata":' + b'{"a":' * 250 + b"1" + b"}" * 250 + b"}",
        b'{"messages":[{"role":"user","content":"question 1"},{"role":"assistant","content":"x"}],"n":%s}'
        % (b"9" * 4500),
        b'{"messages":[]}',
        b'{"messages":[{"role":"user","content":"question 1"}]}',
        b'{"messages":"?"}',
        b"nothing",
        b"",
    ],
    ids=["deep", "long number", "no messages", "no answer", "no list", "no JSON", "empty"],
)
@pytest.mark.parametrize("is_outdated", [False, True], ids=["as it was", "under other metadata"])
async def test_row_of_an_unreadable_saved_line_is_sent_again(
    config: InferenceConfig, tmp_path: Path, saved: bytes, is_outdated: bool
) -> None:

    [key] = [bytes.fromhex(c.metadata["row_key"]) for c in await FakeEngine().ainfer([question("question 1")])]
    rows = questions(3)
    scratch = tmp_path / "scratch" / "out.jsonl"
    scratch.parent.mkdir()
    scratch.write_bytes(encode(key, 0, 0 if is_outdated else item_of(rows[1]).checksum, saved))
    engine = FakeEngine()
    answered = await engine.ainfer(rows, config)
    assert [str(c.messages[-1].content) for c in answered] == [f"answer to question {i}" for i in range(3)]
    assert engine.asked["question 1"] == 1


def test_only_suspicious_json_is_parsed() -> None:
    """Each of these is invalid JSON. Only the parser notices that."""
    assert is_readable(b"x" * 3999)
    assert is_readable(b"x" * 100_000)
    assert not is_readable(b"[" * 200)
    assert not is_readable(b"1" * 4301)
    assert not is_readable(b"x" * 4000 + b"1" * 8000)
