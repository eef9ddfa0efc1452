"""Images and documents that a conversation names by their path."""

from __future__ import annotations

import stat
from pathlib import Path

from asyncinfer.errors import InputError
from asyncinfer.types.conversation import FILE_PATHS, ContentItem, Conversation, Message

# No API takes more in one request.
MAX_FILE = 100 * 2**20


def read_file(path: str) -> bytes:
    """The bytes of an image or a document. Blocks.

    Raises:
        InputError: it cannot be read, is no file, or is larger than 100 MiB.
    """
    try:
        file = Path(path).expanduser()
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path!r} is not a file")
        if found.st_size > MAX_FILE:
            raise _too_large(path)
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:  # The files of /proc state no size, and others grow.
            raise _too_large(path)
        return data
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in it, or the home of nobody
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"the file {path!r} cannot be read: {why}") from None


def _too_large(path: str) -> InputError:
    return InputError(f"the file {path!r} is larger than {MAX_FILE >> 20} MiB")


def with_files(conversation: Conversation) -> Conversation:
    """The conversation, with the bytes of the files that it names by path. Blocks; raises as `read_file` does."""
    messages = [_with_files(message) for message in conversation.messages]
    return conversation.model_copy(update={"messages": messages})


def _with_files(message: Message) -> Message:
    if isinstance(message.content, str) or not message.content:
        return message
    return message.model_copy(update={"content": [_read(item) for item in message.content]})


def _read(item: ContentItem) -> ContentItem:
    if item.type not in FILE_PATHS or item.binary is not None:
        return item
    return item.model_copy(update={"binary": read_file(item.content or "")})
