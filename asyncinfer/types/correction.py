"""What a model is told about an answer that cannot be used."""

from __future__ import annotations

from typing import NamedTuple

from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message


class Correction(NamedTuple):
    """The turns that ask a model to correct its answers to one conversation.

    Args:
        turns: The rejected answers, each with what is wrong with it as a message of the user.
        rejected: How many answers were rejected.
        problem: What is wrong with the latest answer.
    """

    turns: tuple[Message, ...]
    rejected: int
    problem: str

    def applied_to(self, conversation: Conversation) -> Conversation:
        """Return the conversation to send next."""
        return conversation.model_copy(update={"messages": [*conversation.messages, *self.turns]})
