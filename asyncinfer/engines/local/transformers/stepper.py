"""Which rows a Transformers model works on together, and when: a token a step for all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, blaming_the_row
from asyncinfer.engines.local.transformers.batch import Batch
from asyncinfer.engines.local.transformers.model import NativeModel, is_out_of_memory
from asyncinfer.engines.local.transformers.row import ActiveRow
from asyncinfer.engines.local.transformers.search import Search
from asyncinfer.errors import InferenceErrorType, RequestError

log = logging.getLogger("asyncinfer")

# An idle model waits so long, in seconds, for the rows that follow the first.
GATHER = 0.005
# Prompts are read together while padding is at most a third of them, or a few tokens.
_ALIKE, _FEW = 1.5, 16
# Tokens of prompts in one pass, which keeps its memory bounded and lets others be cancelled in between.
_PASS = 8192


class NativeStepper:
    """Answers rows with a NativeModel. Rows of one batch have the same settings; the oldest row's go first."""

    def __init__(self, model: NativeModel, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self._model = model
        self._clock = clock
        self._waiting: dict[int, ActiveRow] = {}
        self._batch: Batch | None = None
        self._search: Search | None = None
        self._last_arrival = 0.0
        # Lowered when memory does not hold as many.
        self._most: int | None = None

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._batch or self._search)

    def prepare(self, request: Request) -> Request:
        with blaming_the_row("llguidance"):
            return request.constrained(self._model.guides.start)

    def add(self, row: int, request: Request) -> None:
        with blaming_the_row("Transformers"):
            self._waiting[row] = ActiveRow(row, request, self._model)
        self._last_arrival = self._clock()

    def step(self, emit: Emit) -> None:
        if self._search is not None:
            self._go_on_searching(self._search, emit)
        elif group := self._next_group():
            self._begin(group, emit)
        elif self._batch is not None:
            self._advance(self._batch, emit)

    def abort(self, row: int) -> None:
        if self._waiting.pop(row, None) is None:
            self._leave(lambda other: other.number == row)

    def close(self) -> None:
        search, self._search, self._batch = self._search, None, None
        self._waiting.clear()
        try:
            if search is not None:
                search.cancel()
        finally:
            self._model.close()

    # Choosing

    def _next_group(self) -> list[ActiveRow]:
        """Rows that wait and whose prompts are read next, together; none while there is no room for the oldest."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None or (self._batch is not None and not self._batch.takes(oldest)):
            return []
        alike = [row for row in self._waiting.values() if _go_together(oldest, row)]
        room = self._room(oldest, alike)
        if self._batch is None and len(alike) < room and self._clock() - self._last_arrival < GATHER:
            time.sleep(GATHER / 5)
            return []
        return self._of_like_length(oldest, alike, room)

    def _room(self, oldest: ActiveRow, alike: Sequence[ActiveRow]) -> int:
        """How many more rows can be worked on, of those that are alike."""
        at_work = self._batch.rows if self._batch is not None else []
        most = oldest.settings.batch_size
        if most is None:
            longest = max(row.length + row.limit for row in (*alike, *at_work))
            most = self._model.rows_in_memory(longest) // oldest.settings.beams
        if self._most is not None:
            most = min(most, self._most)
        return max(most, 1) - len(at_work)

    def _of_like_length(self, oldest: ActiveRow, alike: list[ActiveRow], room: int) -> list[ActiveRow]:
        """The oldest, and those whose lengths are nearest."""
        group: list[ActiveRow] = []
        shortest = longest = oldest.length
        for row in sorted(alike, key=lambda row: abs(row.length - oldest.length)):
            shortest, longest = min(shortest, row.length), max(longest, row.length)
            uneven = longest > _ALIKE * shortest + _FEW
            if len(group) >= room or (group and (uneven or longest * (len(group) + 1) > _PASS)):
                break
            group.append(row)
        return group

    # Working

    def _begin(self, group: list[ActiveRow], emit: Emit) -> None:
        for row in group:
            del self._waiting[row.number]
        if group[0].settings.beams > 1:
            self._search = Search(self._model, group)
            return
        try:
            batch = Batch(self._model, group)
            self._choose(batch, emit)
        except Exception as error:
            self._undo(group, error, emit)
            return
        if self._batch is None:
            self._batch = batch if batch.rows else None
        elif batch.rows:
            self._join(self._batch, batch, emit)

    def _join(self, batch: Batch, other: Batch, emit: Emit) -> None:
        rows = [*batch.rows, *other.rows]
        try:
            batch.join(other)
        except Exception as error:
            self._give_up(rows, error, emit)

    def _advance(self, batch: Batch, emit: Emit) -> None:
        rows = list(batch.rows)
        try:
            batch.advance()
            self._choose(batch, emit)
        except Exception as error:
            self._give_up(rows, error, emit)
            return
        if not batch.rows:
            self._batch = None

    def _give_up(self, rows: Sequence[ActiveRow], error: Exception, emit: Emit) -> None:
        """Without memory the batch is lost, and its rows go on in smaller ones; else the model is."""
        if not is_out_of_memory(error):
            raise error
        self._batch = None
        self._undo(rows, error, emit)

    def _choose(self, batch: Batch, emit: Emit) -> None:
        """Give each row its next token; those that it ends leave."""
        tokens = batch.choose()
        going_on = [
            place
            for place, (row, token) in enumerate(zip(batch.rows, tokens, strict=True))
            if not row.take(token, emit)
        ]
        if len(going_on) < len(tokens):
            batch.keep(going_on)

    def _go_on_searching(self, search: Search, emit: Emit) -> None:
        try:
            if not search.step():
                return
        except Exception as error:
            self._search = None
            self._undo(search.rows, error, emit)
            return
        self._search = None
        for row, answer in zip(search.rows, search.answers or (), strict=True):
            if not row.dropped:
                row.answer(answer, emit)

    def _leave(self, leaves: Callable[[ActiveRow], bool]) -> None:
        if self._batch is not None:
            kept = [place for place, row in enumerate(self._batch.rows) if not leaves(row)]
            if len(kept) < len(self._batch):
                self._batch.keep(kept)
                self._batch = self._batch if kept else None
        if self._search is not None:
            for row in self._search.rows:
                row.dropped |= leaves(row)
            if all(row.dropped for row in self._search.rows):
                self._search.cancel()
                self._search = None

    # Failing

    def _undo(self, rows: Sequence[ActiveRow], error: Exception, emit: Emit) -> None:
        """Have rows try again in smaller company; a row that is alone fails."""
        rows = [row for row in rows if not row.dropped]
        no_memory = is_out_of_memory(error)
        if not rows:
            return
        if len(rows) == 1 and not (no_memory and self._batch is not None):
            emit(rows[0].number, _failure(error, no_memory))
            return
        if no_memory:
            self._most = max(1, (len(rows) + (len(self._batch) if self._batch is not None else 0)) // 2)
            log.warning("out of memory: going on with batches of at most %d rows", self._most)
        else:
            for row in rows:
                row.alone = True
        self._waiting = {row.number: row for row in rows} | self._waiting


def _go_together(oldest: ActiveRow, row: ActiveRow) -> bool:
    """Whether the prompts of both can be read in one pass."""
    if row is oldest:
        return True
    same = row.settings == oldest.settings and row.prompt.shapes == oldest.prompt.shapes
    return same and not row.alone and not oldest.alone


def _failure(error: Exception, no_memory: bool) -> RequestError:
    if isinstance(error, RequestError):
        return error
    why = f"the model failed at this row: {error!r}"
    if no_memory:
        why = f"this row alone needs more memory than there is: {error}. Lower generation.max_new_tokens, shorten the "
        why += "prompt, or load the model in fewer bits"
    return RequestError(why, error_type=InferenceErrorType.RUNTIME)
