"""Identical rows of a deterministic call: one is sent, and all of them get its answer.

Rows are identical if they have the same key. The first one that an executor gets is the leader; the others wait for its
outcome, and hold no permit and no request. Its answer is kept for a while, for rows that come later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace

from asyncinfer.config import GenerationParams
from asyncinfer.run.bound_engine import BoundEngine
from asyncinfer.run.rows import Row
from asyncinfer.scratch.keys import row_id
from asyncinfer.types.answer import COST, DUPLICATE_OF, Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail

# How many rows may wait for the answer of an identical row. Further ones are sent.
_MOST_WAITING = 4_096
# How many answers and failures are kept, and the longest answer that is, in characters.
_MOST_KEPT, _LONGEST_KEPT = 1_000, 20_000

Outcome = Completion | FailureDetail
FindSaved = Callable[[Row], Conversation | None]


class Repeats:
    """The rows that wait for the answers of identical rows.

    Args:
        sends_own_settings: Send each row that has settings of its own, because they may make its answer random.
        find_saved: Returns a row with the answer of the first identical row, if this run or an earlier one has saved
            it. Blocks. None: saved answers are not looked for.

    Attributes:
        count: How many rows wait.
    """

    def __init__(self, find_saved: FindSaved | None = None, *, sends_own_settings: bool = True) -> None:
        self.find_saved, self._sends_own_settings = find_saved, sends_own_settings
        self.count = 0
        self._waiting: dict[bytes, list[Row]] = {}
        self._kept: OrderedDict[bytes, Outcome] = OrderedDict()

    def may_repeat(self, row: Row) -> bool:
        """Whether a row may get the answer of an identical row."""
        return bool(row.n) and not (self._sends_own_settings and row.conversation().has_settings)

    def outcome_of(self, row: Row) -> Outcome | None:
        """The outcome of an identical row, if it is kept."""
        return self._kept.get(row.key)

    def is_open(self, row: Row) -> bool:
        """Whether an identical row is open."""
        return row.key in self._waiting

    def lead(self, row: Row) -> None:
        """A row is sent. Identical rows may wait for its outcome."""
        self._waiting.setdefault(row.key, [])

    def wait(self, row: Row) -> bool:
        """Let a row wait for the outcome of the identical row that is open. Returns False if too many rows wait."""
        if self.count >= _MOST_WAITING:
            return False
        self._waiting[row.key].append(row)
        self.count += 1
        return True

    def release(self, row: Row, outcome: Outcome | None) -> list[Row]:
        """A row has its outcome, or will have none. Returns the rows that waited for it.

        Args:
            outcome: It is kept for rows that come later.
        """
        waiting = self._waiting.pop(row.key, None)
        if waiting is None:
            return []
        self.count -= len(waiting)
        if outcome is not None and not _is_long(outcome):
            self._kept[row.key] = outcome
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return waiting


def _is_long(outcome: Outcome) -> bool:
    if not isinstance(outcome, Completion):
        return False
    return len(outcome.message.compute_flattened_text_content()) > _LONGEST_KEPT


def copy_for(completion: Completion, row: Row) -> Completion:
    """The answer of an identical row, for this row. Its tokens and its cost count only once."""
    metadata = {**(completion.metadata or {}), DUPLICATE_OF: row_id(row.key, 0)}
    metadata.pop(COST, None)
    return replace(completion, usage=None, metadata=metadata)


def marked_copy(conversation: Conversation, row: Row) -> Conversation:
    """A saved answer of an identical row, marked as a copy."""
    metadata = {**conversation.metadata, DUPLICATE_OF: row_id(row.key, 0)}
    for name in ("usage", COST):
        metadata.pop(name, None)
    return conversation.model_copy(update={"metadata": metadata})


def is_deterministic(generation: GenerationParams, engine: BoundEngine, supported: Collection[str]) -> bool:
    """Whether equal conversations get equal answers, so that one request is enough.

    Fields of `extra_body` may name tools that the API runs, or change the sampling. A model that does not support a
    temperature samples at random.

    Args:
        engine: The engine with `generation`, in which the temperature is set explicitly.
        supported: The generation parameters that the engine supports.
    """
    if generation.temperature != 0 or generation.extra_body:
        return False
    return "temperature" in supported and "temperature" not in engine.dropped_parameters
