"""Reads the images and documents that a conversation names by path."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from asyncinfer.errors import UnreadableFileError
from asyncinfer.types.content import FILE_PATHS, ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message
from asyncinfer.types.paths import PATH_ERRORS, NotAFileError, exists, open_regular, os_error_text

# The largest file (bytes). No API accepts more in one request.
MAX_FILE = 100 * 2**20
_FILE_URL = "file://"


def local_path(given: str) -> str:
    """Return the path in a URL such as `file:///tmp/a%20b.png`; any other text unchanged.

    The path may also be written without percent-encoding, and be relative, as in Oumi.
    """
    if given[: len(_FILE_URL)].lower() != _FILE_URL:
        return given
    path = given[len(_FILE_URL) :]
    if path.startswith("localhost/"):
        path = path.removeprefix("localhost")
    return path if exists(Path(path)) else unquote(path)


def read_file(path: str) -> bytes:
    """Return the bytes of an image or a document. Blocks.

    Args:
        path: A path, or a URL that begins with `file://`.

    Raises:
        UnreadableFileError: The file cannot be read, is not a regular file, or is larger than 100 MiB.
    """
    try:
        with open_regular(Path(local_path(path)).expanduser()) as file:
            known = os.fstat(file.fileno()).st_size
            # Files in /proc have no size, and other files may grow.
            data = file.read(MAX_FILE + 1) if known <= MAX_FILE else None
    except NotAFileError as error:
        raise UnreadableFileError(f"{path!r} {os_error_text(error)}") from None
    except PATH_ERRORS as error:
        raise UnreadableFileError(f"the file {path!r} cannot be read: {os_error_text(error)}") from None
    if data is None or len(data) > MAX_FILE:
        raise UnreadableFileError(f"the file {path!r} is larger than {MAX_FILE >> 20} MiB")
    return data


def with_files(conversation: Conversation) -> Conversation:
    """Return the conversation with the bytes of the files that it names by path. Blocks.

    Raises:
        UnreadableFileError: As in `read_file`.
    """
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
