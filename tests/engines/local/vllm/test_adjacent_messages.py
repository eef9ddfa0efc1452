"""Adjacent messages of one role become one message for vLLM. Needs no vLLM."""

from __future__ import annotations

from asyncinfer import Conversation
from asyncinfer.engines.local.vllm.messages import messages_of, text_messages


def test_adjacent_messages_are_merged() -> None:
    given = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
    expected = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}]
    conversation = Conversation.from_dict({"messages": given})
    assert messages_of(conversation, takes_images=False) == expected
    assert messages_of(conversation, takes_images=True) == expected
    assert text_messages(conversation) == expected
