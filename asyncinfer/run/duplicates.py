"""Duplicate rows of a deterministic call: one is sent, and all of them get its answer.

Rows are duplicates if they have the same key. The first one that an executor gets is the original; its duplicates wait
for its outcome, and hold no permit and no request. The outcome is kept for a while, for duplicates that come later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.run.bound_engine import BoundEngine
from asyncinfer.run.rows import Row
from asyncinfer.scratch.keys import row_key_text
from asyncinfer.types.answer import COST, DUPLICATE_OF, Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail

# The most bytes of all duplicates that wait for their originals, and how many each takes besides its content.
_MOST_BYTES, _BYTES_PER_ROW = 64 << 20, 512
# The most answers and failures that are kept, and the most characters of an answer that is kept.
_MOST_KEPT, _LONGEST_KEPT = 1_000, 20_000

_SCALARS = frozenset({str, int, float, bool, type(None)})

FindSaved = Callable[[Row], Conversation | None]


class Outcome(NamedTuple):
    """What became of an original.

    Args:
        result: Its answer, or why it failed.
        n: Which occurrence of its key it is.
    """

    result: Completion | FailureDetail
    n: int


class Duplicates:
    """The duplicates that wait for the outcomes of their originals.

    Args:
        sends_own_settings: Send each row that has settings of its own, because they may make its answer random.
        find_saved: Returns a duplicate with the answer of its original, if this run or an earlier one has saved that.
            Blocks. None: saved answers are not looked for.

    Attributes:
        count: How many duplicates wait.
    """

    def __init__(self, find_saved: FindSaved | None = None, *, sends_own_settings: bool = True) -> None:
        self.find_saved, self._sends_own_settings = find_saved, sends_own_settings
        self.count = self._bytes = 0
        self._waiting: dict[bytes, list[Row]] = {}
        self._kept: OrderedDict[bytes, Outcome] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether so many duplicates wait that no further rows should be read."""
        return self._bytes >= _MOST_BYTES

    def may_be_duplicate(self, row: Row) -> bool:
        """Whether a row may get the answer of an original."""
        return bool(row.n) and not (self._sends_own_settings and row.has_settings())

    def outcome_of(self, row: Row) -> Outcome | None:
        """The outcome of the original, if it is kept."""
        return self._kept.get(row.key)

    def has_open_original(self, row: Row) -> bool:
        """Whether the original is open."""
        return row.key in self._waiting

    def add_original(self, row: Row) -> None:
        """A row is sent. Its duplicates may wait for its outcome."""
        self._waiting.setdefault(row.key, [])

    def wait(self, row: Row) -> None:
        """Let a duplicate wait for the outcome of its original, which is open."""
        self._waiting[row.key].append(row)
        self.count += 1
        self._bytes += row.size + _BYTES_PER_ROW

    def release(self, row: Row, result: Completion | FailureDetail | None) -> list[Row]:
        """An original has its outcome, or will have none. Returns the duplicates that waited for it.

        Args:
            result: It is kept for duplicates that come later.
        """
        waiting = self._waiting.pop(row.key, None)
        if waiting is None:
            return []
        self.count -= len(waiting)
        self._bytes -= sum(duplicate.size + _BYTES_PER_ROW for duplicate in waiting)
        if result is not None and not _is_long(result):
            self._kept[row.key] = Outcome(result, row.n)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return waiting


def _is_long(result: Completion | FailureDetail) -> bool:
    if not isinstance(result, Completion):
        return False
    return len(result.message.compute_flattened_text_content()) > _LONGEST_KEPT


def duplicate_completion(completion: Completion, key: bytes, n: int) -> Completion:
    """The answer of an original, for a duplicate. Its tokens and its cost count only once.

    Args:
        n: Which occurrence of the key the original is.
    """
    metadata = {**(completion.metadata or {}), DUPLICATE_OF: row_key_text(key, n)}
    metadata.pop(COST, None)
    return replace(completion, usage=None, metadata=metadata)


def with_own_objects(completion: Completion) -> Completion:
    """The answer for a further conversation: the two share no object that a caller may change."""
    message, metadata, parsed = completion.message, completion.metadata, completion.parsed
    # A message is frozen, but not what it contains. Each conversation has a mapping of metadata of its own.
    is_plain = isinstance(message.content, str) and message.tool_calls is None and not message.model_extra
    if is_plain and parsed is None and (metadata is None or _SCALARS.issuperset(map(type, metadata.values()))):
        return completion
    if not is_plain:
        message = message.model_copy(deep=True)
    return replace(completion, message=message, metadata=deepcopy(metadata), parsed=_copied(parsed))


def _copied(parsed: Any) -> Any:
    """A copy of a parsed answer. The object itself if its type cannot be copied."""
    try:
        return deepcopy(parsed)
    except Exception:
        return parsed


def duplicate_conversation(conversation: Conversation, row: Row) -> Conversation:
    """A duplicate with the saved answer of its original, marked as such."""
    metadata = {**conversation.metadata, DUPLICATE_OF: row_key_text(row.key, 0)}
    for name in ("usage", COST):
        metadata.pop(name, None)
    return conversation.model_copy(update={"metadata": metadata})


def is_deterministic(generation: GenerationParams, engine: BoundEngine, supported: Collection[str]) -> bool:
    """Whether duplicate rows get the same answer, so that one request is enough.

    Fields of `extra_body` may name tools that the API runs, or change the sampling. A model that does not support a
    temperature samples at random.

    Args:
        engine: The engine with `generation`, in which the temperature is set explicitly.
        supported: The generation parameters that the engine supports.
    """
    if generation.temperature != 0 or generation.extra_body:
        return False
    return "temperature" in supported and "temperature" not in engine.dropped_parameters
