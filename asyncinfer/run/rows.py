"""The rows of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from asyncinfer.errors import InputError, RequestError
from asyncinfer.run.items import InputItem, Item
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.keys import row_key_text
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation

# A row of more bytes would delay an event loop.
_LARGE = 1 << 15
# A line without any of these has no settings of its own. Keys may be written with escapes.
_SETTINGS = re.compile(rb"generation|model_name|\\u")


class Row:
    """One row of the input, with its identity.

    The conversation is read from the item when it is needed: until then, a row is one block of bytes, and not a dozen
    objects for every garbage collection to visit.

    Attributes:
        index: Its place in the input, from 0.
        key: The hash of everything that determines its answer.
        n: How many earlier rows have the same key.
        checksum: The CRC-32 of what it was read from.
        size: The bytes of what it was read from.
    """

    __slots__ = ("_content", "checksum", "index", "key", "n", "size")

    def __init__(
        self, index: int, key: bytes, n: int, checksum: int, size: int, content: InputItem | Conversation
    ) -> None:
        self.index, self.key, self.n, self.checksum, self.size = index, key, n, checksum, size
        self._content = content

    def conversation(self) -> Conversation:
        """The conversation to answer, under an id."""
        content = self._content
        if not isinstance(content, Conversation):
            conversation = content.load()
            if conversation.conversation_id is None and not content.is_shared:
                # It was just parsed: no other code refers to it.
                conversation.conversation_id = row_key_text(self.key, self.n)
            content = self._content = with_id(conversation, self.key, self.n)
        return content

    def has_settings(self) -> bool:
        """Whether the row has settings of its own. The conversation is not kept: the row may have to wait."""
        content = self._content
        if isinstance(content, Conversation):
            return content.has_settings
        if isinstance(content, Item) and content.given is None and not _SETTINGS.search(content.text):
            return False
        return content.load().has_settings

    def text(self) -> bytes:
        """The JSON of the conversation."""
        content = self._content
        if isinstance(content, Item) and content.given is None:
            return content.text
        return self.conversation().to_json_bytes()

    @property
    def is_large(self) -> bool:
        """Whether parsing and writing it would delay an event loop."""
        return self.size > _LARGE

    def finished(self, completion: Completion) -> Conversation:
        """The conversation with its answer."""
        finished = completion.append_to(self.conversation())
        finished.metadata[ROW_KEY] = row_key_text(self.key, self.n)
        return finished


class SavedRow(NamedTuple):
    """A row whose answer is saved already."""

    row: Row
    finished: Conversation


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used, or whose saved answer cannot be validated. `error` says why."""

    index: int
    error: InputError | RequestError


InputRow = Row | SavedRow | RejectedRow


def with_id(conversation: Conversation, key: bytes, n: int) -> Conversation:
    """The conversation; without an id of its own, it gets one that is derived from its key."""
    if conversation.conversation_id is not None:
        return conversation
    return conversation.model_copy(update={"conversation_id": row_key_text(key, n)})
