"""The chat loop of `asyncinfer infer -i`, with piped messages."""

from __future__ import annotations

import io
import sys

import pytest

from asyncinfer import (
    ContentItem,
    FinishReason,
    InferenceConfig,
    InferenceErrorType,
    Message,
    ModelParams,
    RequestError,
    Role,
    Type,
    Usage,
)
from asyncinfer.cli.chat import Chat
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from tests.fakes import SimpleEngine

IMAGE = ContentItem(type=Type.IMAGE_URL, content="https://example.com/a.png")


class FailsOnce(SimpleEngine):
    """Fails to answer the first conversation. Notes the number of images in each one."""

    def __init__(self) -> None:
        super().__init__(ModelParams(model_name="m"))
        self.images: list[int] = []

    async def _generate(self, conversation: Conversation) -> Completion:
        items = [item for message in conversation.messages for item in message.content_items]
        self.images.append(sum(item.type is Type.IMAGE_URL for item in items))
        if len(self.images) == 1:
            raise RequestError("no", error_type=InferenceErrorType.API_STATUS, status_code=400, is_retryable=False)
        return Completion(Message(role=Role.ASSISTANT, content="ok"), FinishReason.STOP, Usage(3, 4, 7))


async def test_image_is_sent_again_until_a_message_with_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("fails\nis answered\nmore\n/reset\nnew\n"))
    async with FailsOnce() as engine:
        await Chat(engine, InferenceConfig(), [IMAGE], None, markdown=False).run()
    assert engine.images == [1, 1, 1, 0]
    assert capsys.readouterr().out == "ok\nok\nok\n"
