"""The key of a row: a hash of everything that determines its answer, and of nothing else.

The parameter classes and the engines declare which settings those are; see `config.row_key`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from pydantic_core import to_json

from asyncinfer.config import GenerationParams, ModelParams, RemoteParams
from asyncinfer.scratch.finished import ROW_KEY_PATTERN
from asyncinfer.scratch.index import KEY_BYTES
from asyncinfer.scratch.model_files import ModelFile
from asyncinfer.types.content import FILE_PATHS, ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import read_file
from asyncinfer.types.message import Message

_ROW_KEY = re.compile(ROW_KEY_PATTERN, re.ASCII)


class RowKeys:
    """Makes the keys of the rows of one run. The settings that all rows share are hashed once.

    Args:
        engine: The type of the engine.
        remote: None for a model in this process.
        files: The files of a local model.
        unhashed_model_kwargs: The `model_kwargs` that do not change an answer of this engine.
        own: Returns what makes the key of a row with settings of its own; None: such settings are not part of the key.
    """

    def __init__(
        self,
        engine: str,
        model: ModelParams,
        generation: GenerationParams,
        remote: RemoteParams | None = None,
        files: Sequence[ModelFile] = (),
        unhashed_model_kwargs: Collection[str] = (),
        own: Callable[[Conversation], RowKeys] | None = None,
    ) -> None:
        self._own = own
        endpoint = remote.hashed_values() if remote is not None else {}
        url = endpoint.pop("api_url", None)
        shared = [engine, _model_values(model, unhashed_model_kwargs), generation.hashed_values(), url]
        self._shared = blake2b(digest_size=KEY_BYTES)
        self._shared.update(to_json([*shared, endpoint] if endpoint else shared))
        if files:
            self._shared.update(to_json(files))

    def __call__(self, conversation: Conversation) -> bytes:
        """The key of a conversation. It depends on the bytes of local files, but not on the id and the metadata.

        Raises:
            InputError: A file cannot be read, or the conversation's own settings are wrong.
        """
        if self._own is not None and (conversation.generation is not None or conversation.model_name is not None):
            return self._own(conversation)(conversation)
        digest = self._shared.copy()
        for message in conversation.messages:
            _add_message(digest.update, message)
        if conversation.tools:
            digest.update(to_json([tool.model_dump(mode="json") for tool in conversation.tools]))
        return digest.digest()

    def run_hash(self, keys: bytes | bytearray) -> str:
        """A name for the whole run, in hex. It depends on the settings and on the keys of all rows.

        Args:
            keys: The keys, end to end.
        """
        digest = self._shared.copy()
        digest.update(keys)
        return digest.hexdigest()


class RowKeysMaker(Protocol):
    """Makes `RowKeys` with the parameters that rows may change. The other settings of the call are fixed."""

    def __call__(
        self,
        model: ModelParams,
        generation: GenerationParams,
        *,
        own: Callable[[Conversation], RowKeys] | None = None,
    ) -> RowKeys: ...


def row_key_text(key: bytes, n: int) -> str:
    """The identity of a row as text: its key, and `n` for an occurrence after the first.

    It is also the conversation id of a row that has none in the input.
    """
    return f"{key.hex()}-{n}" if n else key.hex()


def parse_row_key(row_key: object) -> tuple[bytes, int] | None:
    """The key and the occurrence in what `row_key_text` writes; None if it is something else."""
    found = _ROW_KEY.fullmatch(row_key) if isinstance(row_key, str) else None
    return (bytes.fromhex(found[1]), int(found[2] or 0)) if found is not None else None


def _add_message(update: Any, message: Message) -> None:
    # The lengths make sure that ("ab", "c") and ("a", "bc") differ.
    content = message.content
    if isinstance(content, str):
        data = content.encode()
        update(b"%b:%d:%b" % (message.role.encode(), len(data), data))
    else:
        update(b"%b;" % message.role.encode())
        for item in content or ():
            _add_item(update, item)
    extra = message.__pydantic_extra__
    if message.tool_calls or message.tool_call_id or message.reasoning_content or message.name or extra:
        calls = [call.model_dump(mode="json") for call in message.tool_calls or ()]
        update(to_json([calls, message.tool_call_id, message.reasoning_content, message.name, extra]))


def _add_item(update: Any, item: ContentItem) -> None:
    binary = item.binary
    is_path = item.type in FILE_PATHS
    if binary is None and is_path and item.content:
        binary = read_file(item.content)
    # The bytes of the file count, not its path.
    text = None if is_path else item.content
    digest = blake2b(binary).hexdigest() if binary is not None else None
    update(to_json([item.type, text, digest, item.model_extra]))


def _model_values(model: ModelParams, unhashed_kwargs: Collection[str]) -> dict[str, Any]:
    values = model.hashed_values()
    kwargs: dict[str, Any] = values.pop("model_kwargs", {})
    hashed = {name: str(value) for name, value in sorted(kwargs.items()) if name not in unhashed_kwargs}
    return values | ({"model_kwargs": hashed} if hashed else {})
