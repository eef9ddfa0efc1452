"""Reprs of results and settings show only what is set."""

from __future__ import annotations

import pytest

from asyncinfer import (
    Completion,
    FailureDetail,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    Message,
    Progress,
    RemoteParams,
    Role,
    StreamDelta,
    Usage,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Usage(), "Usage()"),
        (Usage(1, 2, 3), "Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)"),
        (StreamDelta("a"), "StreamDelta(content='a')"),
        (FailureDetail("no"), "FailureDetail(error_message='no')"),
        (Progress(), "Progress()"),
        (InferenceConfig(), "InferenceConfig()"),
        (GenerationParams(temperature=0.5), "GenerationParams(temperature=0.5)"),
        (RemoteParams(num_workers=50), "RemoteParams()"),
    ],
)
def test_defaults_are_left_out(value: object, shown: str) -> None:
    assert repr(value) == shown


def test_parts_have_short_reprs_too() -> None:
    completion = Completion(Message(role=Role.ASSISTANT, content="b"), FinishReason.STOP)
    assert repr(completion) == (
        "Completion(message=Message(role=<Role.ASSISTANT: 'assistant'>, content='b'), "
        "finish_reason=<FinishReason.STOP: 'stop'>)"
    )
