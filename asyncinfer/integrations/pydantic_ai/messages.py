"""Turns the message history of an agent into the messages of a conversation.

Source: `pydantic_ai.messages` of pydantic-ai 2.68, and the mapping of its own `OpenAIChatModel`, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ERROR_OUTCOMES,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from asyncinfer.integrations.pydantic_ai.compat import sendable_parts
from asyncinfer.integrations.pydantic_ai.content import ContentEncoder
from asyncinfer.integrations.pydantic_ai.thinking import call_of, thinking_fields
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall

# Whether the passthrough data of a part of an earlier answer may be sent to this engine.
Accepts = Callable[[ModelResponse, ModelResponsePart], bool]


@dataclass(frozen=True, slots=True)
class MessageEncoder:
    """Encodes histories for one engine.

    Args:
        content: Encodes the content of prompts and of tool results.
        accepts: Whether the passthrough data of a part of an earlier answer may be sent to this engine.
        thinking_tags: The tags around the thinking of another model, which is sent as text.
    """

    content: ContentEncoder
    accepts: Accepts
    thinking_tags: tuple[str, str]

    async def encode(self, history: Sequence[ModelMessage], instructions: Sequence[InstructionPart]) -> list[Message]:
        """Return the messages of a conversation. The instructions follow the system prompts at its beginning.

        Raises:
            UserError: A part cannot be sent to a model.
        """
        messages: list[Message] = []
        for entry in history:
            if isinstance(entry, ModelRequest):
                messages.extend([message async for message in self._of_request(entry)])
            elif (answer := self._of_response(entry)) is not None:
                messages.append(answer)
        return with_instructions(messages, InstructionPart.join(instructions))

    async def _of_request(self, request: ModelRequest) -> AsyncIterator[Message]:
        for part in sendable_parts(request.parts):
            match part:
                case UserPromptPart():
                    yield Message(role=Role.USER, content=await self.content.encode(part.content))
                case ToolReturnPart():
                    content = await self.content.encode_result(part)
                    mark: dict[str, Any] = {"is_error": True} if part.outcome in ERROR_OUTCOMES else {}
                    yield Message(role=Role.TOOL, tool_call_id=part.tool_call_id, content=content, **mark)
                case SystemPromptPart():
                    yield Message(role=Role.SYSTEM, content=part.content)
                case _:
                    raise UserError(
                        f"asyncinfer: {type(part).__name__} cannot be sent to a model. Pass the messages through "
                        "`model.prepare_messages(...)` first, as an agent does"
                    )

    def _of_response(self, response: ModelResponse) -> Message | None:
        """Return an earlier answer; None if it has nothing to send.

        Files that a model made, and calls of tools that the API ran itself, are not sent back.
        """
        texts: list[str] = []
        thinking: list[ThinkingPart] = []
        calls: list[ToolCall] = []
        for part in response.parts:
            match part:
                case TextPart():
                    texts.append(part.content)
                case ThinkingPart() if self.accepts(response, part):
                    thinking.append(part)
                case ThinkingPart() if part.content:
                    texts.append("\n".join((self.thinking_tags[0], part.content, self.thinking_tags[1])))
                case ToolCallPart():
                    calls.append(call_of(part, with_passthrough=self.accepts(response, part)))
                case _:
                    pass
        fields = thinking_fields(thinking)
        if not (texts or calls or fields):
            return None
        content = "\n\n".join(texts) if texts or not calls else None
        return Message(role=Role.ASSISTANT, content=content, tool_calls=calls or None, **fields)


def with_instructions(messages: list[Message], instructions: str | None) -> list[Message]:
    """Return the messages with one system message at the beginning. Many chat templates accept no second one."""
    leading = next((i for i, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    if leading == 1 and instructions is None:
        return messages
    texts = [message.text for message in messages[:leading]] + ([instructions] if instructions else [])
    if not texts:
        return messages
    return [Message(role=Role.SYSTEM, content="\n\n".join(texts)), *messages[leading:]]
