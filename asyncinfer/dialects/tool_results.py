"""Moves images and documents out of the results of tools, for APIs and models that accept only text there.

Only text is accepted in tool messages by OpenAI's chat completions (openai-python 3.57,
`ChatCompletionToolMessageParam`), by vLLM (vllm-project/vllm#43203), and by most chat templates, November 2026. The
files are sent in a message of the user after the results. A text before them names their call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.message import Message, Role

IsAccepted = Callable[[ContentItem], bool]
# The text of a result that has only files.
IN_NEXT_MESSAGE = "The result is in the next message of the user."


def only_text(item: ContentItem) -> bool:
    """Accept only texts in the results of tools."""
    return item.is_text()


def has_files_in_results(messages: Sequence[Message]) -> bool:
    """Whether the result of a tool has an image or a document."""
    return any(message.role is Role.TOOL and not all(map(only_text, message.content_items)) for message in messages)


def with_files_after_results(messages: Sequence[Message], is_accepted: IsAccepted = only_text) -> Sequence[Message]:
    """Return the messages, with the files of adjacent tool results in one message of the user after them.

    Args:
        is_accepted: Whether an item may stay in the result of a tool.

    Returns:
        `messages` itself if there is nothing to move.
    """
    return list(_moved(messages, is_accepted)) if has_files_in_results(messages) else messages


def _moved(messages: Sequence[Message], is_accepted: IsAccepted) -> Iterator[Message]:
    names: dict[str, str] = {}
    files: list[ContentItem] = []
    for message in messages:
        if message.role is not Role.TOOL and files:
            yield Message(role=Role.USER, content=files)
            files = []
        names |= {call.id: call.function.name for call in message.tool_calls or ()}
        if message.role is Role.TOOL:
            message, moved = _split(message, is_accepted)
            files += [ContentItem(type=Type.TEXT, content=_heading(message, names)), *moved] if moved else []
        yield message
    if files:
        yield Message(role=Role.USER, content=files)


def _split(result: Message, is_accepted: IsAccepted) -> tuple[Message, list[ContentItem]]:
    """Return the result of a tool without the items that may not stay in it, and these items."""
    kept, moved = list[ContentItem](), list[ContentItem]()
    for item in result.content_items:
        (kept if is_accepted(item) else moved).append(item)
    if not moved:
        return result, moved
    return result.model_copy(update={"content": kept or IN_NEXT_MESSAGE}), moved


def _heading(message: Message, names: dict[str, str]) -> str:
    """Return the text that says which call the files after it belong to."""
    call = message.tool_call_id or ""
    name = names.get(call) or message.name
    of_call = f" {call}" if call else ""
    return f"Result of call{of_call} of {name}:" if name else f"Result of call{of_call}:"
