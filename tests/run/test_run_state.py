"""The state of a run and the counts of its answers, in `Progress`, in the progress file and in the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    Completion,
    Conversation,
    EngineDeadError,
    FinishReason,
    InferenceConfig,
    InferenceErrorType,
    InputError,
    Message,
    Progress,
    Role,
    RunInterruptedError,
    ScratchLockedError,
    Stop,
)
from tests.fakes import FakeEngine, SimpleEngine, questions, refusal, rejection, write_jsonl


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(4))
    return InferenceConfig(
        input_path=str(tmp_path / "in.jsonl"),
        output_path=str(tmp_path / "out.jsonl"),
        progress_path=str(tmp_path / "progress.json"),
    )


def snapshot(config: InferenceConfig) -> dict[str, Any]:
    return json.loads(Path(str(config.progress_path)).read_text())


async def wait_for_state(config: InferenceConfig, state: str) -> None:
    path = Path(str(config.progress_path))
    with anyio.fail_after(10):
        while not path.exists() or snapshot(config)["state"] != state:  # noqa: ASYNC110
            await anyio.sleep(0.01)


class TestState:
    async def test_a_run_is_running_and_then_finished(self, config: InferenceConfig) -> None:
        go_on, states = anyio.Event(), list[str]()
        engine = FakeEngine(lambda *_: go_on.wait())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: engine.arun(config, on_progress=lambda p: states.append(p.state)))
            await wait_for_state(config, "running")
            go_on.set()
        assert snapshot(config)["state"] == "finished"
        assert (states[0], states[-1]) == ("running", "finished")

    async def test_the_output_is_complete_when_the_state_is_finished(self, config: InferenceConfig) -> None:
        seen = dict[str, bool]()

        async def watch(progress: Progress) -> None:
            seen[progress.state] = await anyio.Path(str(config.output_path)).exists()

        await FakeEngine().arun(config, on_progress=watch)
        assert seen["finished"]

    async def test_failed_rows_do_not_make_a_run_fail(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 1":
                raise rejection()

        await FakeEngine(script).arun(config)
        assert snapshot(config)["state"] == "finished"
        assert snapshot(config)["failed"] == 1
        assert snapshot(config)["commonest_failure"] == {"error_message": "bad request", "rows": 1}

    async def test_a_dead_engine_makes_a_run_fail(self, config: InferenceConfig) -> None:
        def script(*_: object) -> None:
            raise EngineDeadError("the key was revoked", error_type=InferenceErrorType.ENGINE_FAILURE)

        await FakeEngine(script).arun(config)
        assert (snapshot(config)["state"], snapshot(config)["error"]) == ("failed", "the key was revoked")

    async def test_bad_input_makes_a_run_fail(self, config: InferenceConfig) -> None:
        Path(str(config.input_path)).write_text("not json\n")
        with pytest.raises(InputError):
            await FakeEngine().arun(config)
        assert snapshot(config)["state"] == "failed"
        assert "line 1" in snapshot(config)["error"]

    async def test_a_stopped_run_is_interrupted(self, config: InferenceConfig) -> None:
        stop = Stop(grace=0.0)
        engine = FakeEngine(lambda *_: anyio.sleep_forever())
        stop.request()
        with pytest.raises(RunInterruptedError):
            await engine.arun(config, stop=stop)
        assert snapshot(config)["state"] == "interrupted"

    async def test_a_cancelled_run_is_interrupted(self, config: InferenceConfig) -> None:
        engine = FakeEngine(lambda *_: anyio.sleep_forever())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.arun, config)
            await wait_for_state(config, "running")
            tasks.cancel_scope.cancel()
        assert snapshot(config)["state"] == "interrupted"

    async def test_a_run_that_is_refused_leaves_the_file_of_the_other_run(self, config: InferenceConfig) -> None:
        engine = FakeEngine(lambda *_: anyio.sleep_forever())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.arun, config)
            await wait_for_state(config, "running")
            with pytest.raises(ScratchLockedError):
                await FakeEngine().arun(config)
            assert snapshot(config)["state"] == "running"
            tasks.cancel_scope.cancel()

    async def test_iterators_report_their_state_too(self, config: InferenceConfig) -> None:
        only_progress = InferenceConfig(progress_path=config.progress_path)
        async for _ in FakeEngine().ainfer_iter(questions(2), only_progress):
            pass
        assert snapshot(config)["state"] == "finished"


class EndsWith(SimpleEngine):
    """Ends each answer with the finish reason that the question names."""

    async def _generate(self, conversation: Conversation) -> Completion:
        reason = FinishReason(str(conversation.messages[-1].content))
        return Completion(Message(role=Role.ASSISTANT, content="an answer"), reason)


async def test_answers_cut_by_length_and_filtered_answers_are_counted(config: InferenceConfig) -> None:
    reasons = ["length", "stop", "length", "content_filter"]
    rows = [Conversation.from_dict({"messages": [{"role": "user", "content": reason}]}) for reason in reasons]
    write_jsonl(Path(str(config.input_path)), rows)
    summary = await EndsWith(config.model).arun(config)
    assert (summary.cut_by_length, summary.filtered) == (2, 1)
    assert (snapshot(config)["cut_by_length"], snapshot(config)["filtered"]) == (2, 1)


ENDS = ["length", "stop", "length", "content_filter"]


def write_ends(config: InferenceConfig) -> None:
    rows = [Conversation.from_dict({"messages": [{"role": "user", "content": reason}]}) for reason in ENDS]
    write_jsonl(Path(str(config.input_path)), rows)


class FailsLast(EndsWith):
    """Answers all rows but the last one, which another run may answer."""

    async def _generate(self, conversation: Conversation) -> Completion:
        if conversation.messages[-1].content == "content_filter":
            raise rejection()
        return await super()._generate(conversation)


async def test_resumed_answers_that_were_cut_are_counted(config: InferenceConfig) -> None:
    """The rows that are resumed are not read: their answers are in the scratch file already."""
    write_ends(config)
    await FailsLast(config.model).arun(config)
    summary = await EndsWith(config.model).arun(config)
    assert (summary.resumed, summary.cut_by_length, summary.filtered) == (3, 2, 1)
    assert (snapshot(config)["cut_by_length"], snapshot(config)["filtered"]) == (2, 1)


async def test_resumed_answers_of_changed_rows_are_counted_once(config: InferenceConfig) -> None:
    """The ids of the rows have changed, so that their answers are read and saved again."""
    write_ends(config)
    await FailsLast(config.model).arun(config)
    rows = [
        Conversation.from_dict({"conversation_id": f"new {n}", "messages": [{"role": "user", "content": reason}]})
        for n, reason in enumerate(ENDS)
    ]
    write_jsonl(Path(str(config.input_path)), rows)
    for _ in range(2):
        summary = await FailsLast(config.model).arun(config)
        assert (summary.resumed, summary.cut_by_length, summary.filtered) == (3, 2, 0)


async def test_resumed_answers_that_are_delivered_are_counted(config: InferenceConfig) -> None:
    write_ends(config)
    await FailsLast(config.model).ainfer_partial(inference_config=config)
    await EndsWith(config.model).ainfer_partial(inference_config=config)
    assert (snapshot(config)["cut_by_length"], snapshot(config)["filtered"]) == (2, 1)


async def test_reused_answers_that_were_cut_are_counted(config: InferenceConfig) -> None:
    write_ends(config)
    await EndsWith(config.model).arun(config)
    summary = await EndsWith(config.model).arun(config.model_copy(update={"reuse_output": True}))
    assert (summary.resumed, summary.cut_by_length, summary.filtered) == (4, 2, 1)
    assert (snapshot(config)["cut_by_length"], snapshot(config)["filtered"]) == (2, 1)


async def test_finish_reason_of_a_message_is_not_that_of_the_row(config: InferenceConfig) -> None:
    """Unknown keys of a conversation are kept, and may have any name."""
    row = {"messages": [{"role": "user", "content": "stop", "extra": {"finish_reason": "length"}}]}
    other = {"messages": [{"role": "user", "content": "content_filter"}]}
    write_jsonl(Path(str(config.input_path)), [Conversation.from_dict(row), Conversation.from_dict(other)])
    await FailsLast(config.model).arun(config)
    summary = await EndsWith(config.model).arun(config)
    assert (summary.resumed, summary.cut_by_length, summary.filtered) == (1, 0, 1)


async def test_refusals_and_retries_are_in_the_progress(config: InferenceConfig) -> None:
    def script(text: str, attempt: int) -> None:
        if text == "question 1" and attempt == 1:
            raise refusal(0.001)

    await FakeEngine(script).arun(config)
    assert (snapshot(config)["attempts"], snapshot(config)["refused"], snapshot(config)["retried"]) == (5, 1, 1)
