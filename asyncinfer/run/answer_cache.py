"""The cache of answers, for runs and calls: all access to its file is in threads."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import RequestError
from asyncinfer.run.rows import Row
from asyncinfer.scratch.answer_store import AnswerStore
from asyncinfer.scratch.format import is_readable
from asyncinfer.types.answer import ANSWER_METADATA, COST, DUPLICATE_OF, FROM_CACHE, Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason, finish_reason_of

log = logging.getLogger("asyncinfer")

# Answers that may come out differently another time, or that are none.
_NOT_KEPT = frozenset({FinishReason.ERROR, FinishReason.UNKNOWN, FinishReason.CONTENT_FILTER})
# The metadata that belong to one request, and not to its answer.
_OF_THE_REQUEST = frozenset({"usage", COST, DUPLICATE_OF, FROM_CACHE})
# More answers than this do not wait to be written: the cache is slower than the engine.
_MOST_WAITING = 10_000
# The files that single calls keep open, for each engine.
_MOST_OPEN = 8

Restored = Callable[[Conversation], Conversation]


class AnswerCache:
    """Keeps answers by the keys of their rows.

    Args:
        path: The file.
        max_bytes: The largest size of the file.
        restored: Adds to an answered conversation what is not kept, such as the parsed answer. Raises ValueError if the
            answer cannot be used.
    """

    def __init__(self, path: Path, max_bytes: int, restored: Restored) -> None:
        self._store, self._restored = AnswerStore(path, max_bytes), restored
        self._waiting: list[tuple[bytes, int, bytes]] = []
        self._wake = anyio.Event()
        self._closed = False

    async def find(self, rows: Sequence[Row]) -> list[Completion | None]:
        """The answer to each row; None for a row that has none."""
        return await DISK.run(self._find, rows)

    def keep(self, row: Row, completion: Completion) -> None:
        """Keep the answer to a row. `run` writes it."""
        if len(self._waiting) < _MOST_WAITING and (answer := _encoded(completion)) is not None:
            self._waiting.append((row.key, row.n, answer))
            self._wake.set()

    async def run(self) -> None:
        """Write the answers until `close` is called. A cancellation does not stop it."""
        with anyio.CancelScope(shield=True):
            while self._waiting or not self._closed:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._waiting:
                    answers, self._waiting = self._waiting, []
                    await DISK.run(self._store.put, answers)
            await DISK.run(self._store.close)

    def close(self) -> None:
        """Let `run` return when all answers are written."""
        self._closed = True
        self._wake.set()

    def _find(self, rows: Sequence[Row]) -> list[Completion | None]:
        found = self._store.get([(row.key, row.n) for row in rows])
        return [
            _decoded(answer, row.conversation(), self._restored) if answer is not None else None
            for row, answer in zip(rows, found, strict=True)
        ]


class OpenCaches:
    """The files of the caches that single calls use. They stay open, because opening one takes longer than its use.

    Any number of threads and event loops may use them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: OrderedDict[tuple[Path, int], AnswerStore] = OrderedDict()

    def store(self, path: Path, max_bytes: int) -> AnswerStore:
        """The answers in a file. Blocks: it may close another file.

        Args:
            max_bytes: The largest size of the file.
        """
        with self._lock:
            store = self._stores.pop((path, max_bytes), None)
            if store is None or not store.is_usable:
                store = AnswerStore(path, max_bytes)
            self._stores[path, max_bytes] = store
            others = [self._stores.popitem(last=False)[1] for _ in range(len(self._stores) - _MOST_OPEN)]
        for other in others:
            other.close()
        return store

    @property
    def are_open(self) -> bool:
        """Whether there are files to close."""
        return bool(self._stores)

    async def aclose(self) -> None:
        """Close the files. A call that comes later opens its file again."""
        with self._lock:
            stores, self._stores = self._stores, OrderedDict()
        for store in stores.values():
            await DISK.run(store.close)


async def answer_once(
    caches: OpenCaches,
    file: tuple[Path, int],
    restored: Restored,
    asked: Conversation,
    key: Callable[[Conversation], bytes],
    answer: Callable[[], Awaitable[Completion]],
) -> Completion:
    """The answer to one conversation: from the cache, or else from `answer`, whose result is kept.

    Args:
        file: The file of the cache, and its largest size in bytes.
        restored: As in `AnswerCache`.
        key: Returns the key of the conversation. Blocks.
    """

    def find() -> tuple[bytes, Completion | None]:
        identity = key(asked)
        [found] = caches.store(*file).get([(identity, 0)])
        return identity, _decoded(found, asked, restored) if found is not None else None

    def keep(identity: bytes, text: bytes) -> None:
        caches.store(*file).put([(identity, 0, text)])

    identity, completion = await DISK.run(find)
    if completion is not None:
        return completion
    completion = await answer()
    if (text := _encoded(completion)) is not None:
        await DISK.run(keep, identity, text)
    return completion


def _encoded(completion: Completion) -> bytes | None:
    """The answer as JSON; None if it is not kept."""
    if completion.finish_reason in _NOT_KEPT:
        return None
    given = completion.append_to(Conversation(messages=[]))
    given.metadata = {name: given.metadata[name] for name in ANSWER_METADATA if name in given.metadata}
    try:
        text = given.to_json_bytes()
    except ValueError:  # JSON cannot hold its metadata.
        return None
    return text if is_readable(text) else None


def _decoded(answer: bytes, asked: Conversation, restored: Restored) -> Completion | None:
    """The answer to a conversation, as `_encoded` wrote it; None if it cannot be used. Blocks."""
    try:
        saved = Conversation.from_json(answer)
        metadata = {name: value for name, value in saved.metadata.items() if name not in _OF_THE_REQUEST}
        metadata.pop("finish_reason", None)
        completion = Completion(saved.messages[-1], finish_reason_of(saved), None, {**metadata, FROM_CACHE: True})
        completion.parsed = restored(completion.append_to(asked)).parsed
    except (ValueError, IndexError, RequestError):
        return None
    return completion
