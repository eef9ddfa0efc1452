"""Runs a Transformers model step by step, and decides which rows share a batch. One step computes one token."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, row_errors
from asyncinfer.engines.local.transformers.batch import Batch
from asyncinfer.engines.local.transformers.model import TransformersModel, is_out_of_memory
from asyncinfer.engines.local.transformers.row import ActiveRow
from asyncinfer.engines.local.transformers.search import BeamSearch
from asyncinfer.errors import InferenceErrorType, RequestError

log = logging.getLogger("asyncinfer")

# How long an idle model waits for further rows after the first one, in seconds.
GATHER = 0.005
# Prompts are evaluated together if the longest has at most `_LENGTH_FACTOR` times as many tokens as the shortest, plus
# `_LENGTH_MARGIN`.
_LENGTH_FACTOR, _LENGTH_MARGIN = 1.5, 16
# The most tokens of prompts in one pass. This limits its memory, and rows can be aborted between two passes.
_MAX_PASS = 8192


class TransformersStepper:
    """Answers rows with a TransformersModel. All rows of a batch have the same settings: those of the oldest row."""

    def __init__(self, model: TransformersModel, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self._model = model
        self._clock = clock
        self._waiting: dict[int, ActiveRow] = {}
        self._batch: Batch | None = None
        self._search: BeamSearch | None = None
        self._last_arrival = 0.0
        # The most rows of a batch. Lowered when memory runs out.
        self._max_rows: int | None = None

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._batch or self._search)

    def prepare(self, request: Request) -> Request:
        with row_errors("llguidance"):
            return request.with_constraint(self._model.guides.start)

    def add(self, row: int, request: Request) -> None:
        with row_errors("Transformers"):
            self._waiting[row] = ActiveRow(row, request, self._model)
        self._last_arrival = self._clock()

    def step(self, emit: Emit) -> None:
        if self._search is not None:
            self._advance_search(self._search, emit)
        elif group := self._next_group():
            self._start(group, emit)
        elif self._batch is not None:
            self._advance(self._batch, emit)

    def abort(self, row: int) -> None:
        if self._waiting.pop(row, None) is None:
            self._remove(lambda other: other.number == row)

    def close(self) -> None:
        search, self._search, self._batch = self._search, None, None
        self._waiting.clear()
        try:
            if search is not None:
                search.cancel()
        finally:
            self._model.close()

    # Choosing rows

    def _next_group(self) -> list[ActiveRow]:
        """The waiting rows whose prompts are evaluated in the next step. Empty if the oldest has no room yet."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is None or (self._batch is not None and not self._batch.accepts(oldest)):
            return []
        candidates = [row for row in self._waiting.values() if _can_share_batch(oldest, row)]
        room = self._room(oldest, candidates)
        if self._batch is None and len(candidates) < room and self._clock() - self._last_arrival < GATHER:
            time.sleep(GATHER / 5)
            return []
        return self._similar_lengths(oldest, candidates, room)

    def _room(self, oldest: ActiveRow, candidates: Sequence[ActiveRow]) -> int:
        """How many of the candidates the batch has room for."""
        active = self._batch.rows if self._batch is not None else []
        most = oldest.settings.batch_size
        if most is None:
            longest = max(row.length + row.limit for row in (*candidates, *active))
            most = self._model.rows_in_memory(longest) // oldest.settings.beams
        if self._max_rows is not None:
            most = min(most, self._max_rows)
        return max(most, 1) - len(active)

    def _similar_lengths(self, oldest: ActiveRow, candidates: list[ActiveRow], room: int) -> list[ActiveRow]:
        """The oldest row, and the rows whose lengths are closest to it."""
        group: list[ActiveRow] = []
        shortest = longest = oldest.length
        for row in sorted(candidates, key=lambda row: abs(row.length - oldest.length)):
            shortest, longest = min(shortest, row.length), max(longest, row.length)
            differ = longest > _LENGTH_FACTOR * shortest + _LENGTH_MARGIN
            if len(group) >= room or (group and (differ or longest * (len(group) + 1) > _MAX_PASS)):
                break
            group.append(row)
        return group

    # Computing

    def _start(self, group: list[ActiveRow], emit: Emit) -> None:
        for row in group:
            del self._waiting[row.number]
        if group[0].settings.beams > 1:
            self._search = BeamSearch(self._model, group)
            return
        try:
            batch = Batch(self._model, group)
            self._sample(batch, emit)
        except Exception as error:
            self._retry(group, error, emit)
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
            self._sample(batch, emit)
        except Exception as error:
            self._give_up(rows, error, emit)
            return
        if not batch.rows:
            self._batch = None

    def _give_up(self, rows: Sequence[ActiveRow], error: Exception, emit: Emit) -> None:
        """The batch is lost. If memory ran out, its rows continue in smaller batches. Else the model has failed."""
        if not is_out_of_memory(error):
            raise error
        self._batch = None
        self._retry(rows, error, emit)

    def _sample(self, batch: Batch, emit: Emit) -> None:
        """Append the next token to each row, and remove the rows that end."""
        tokens = batch.sample()
        continuing = [
            index
            for index, (row, token) in enumerate(zip(batch.rows, tokens, strict=True))
            if not row.append(token, emit)
        ]
        if len(continuing) < len(tokens):
            batch.keep(continuing)

    def _advance_search(self, search: BeamSearch, emit: Emit) -> None:
        try:
            if not search.step():
                return
        except Exception as error:
            self._search = None
            self._retry(search.rows, error, emit)
            return
        self._search = None
        for row, answer in zip(search.rows, search.answers or (), strict=True):
            if not row.dropped:
                row.finish_with(answer, emit)

    def _remove(self, is_removed: Callable[[ActiveRow], bool]) -> None:
        if self._batch is not None:
            kept = [index for index, row in enumerate(self._batch.rows) if not is_removed(row)]
            if len(kept) < len(self._batch):
                self._batch.keep(kept)
                self._batch = self._batch if kept else None
        if self._search is not None:
            for row in self._search.rows:
                row.dropped |= is_removed(row)
            if all(row.dropped for row in self._search.rows):
                self._search.cancel()
                self._search = None

    # Errors

    def _retry(self, rows: Sequence[ActiveRow], error: Exception, emit: Emit) -> None:
        """Try the rows again in smaller batches. A row that was alone fails."""
        rows = [row for row in rows if not row.dropped]
        no_memory = is_out_of_memory(error)
        if not rows:
            return
        if len(rows) == 1 and not (no_memory and self._batch is not None):
            emit(rows[0].number, _failure(error, no_memory))
            return
        if no_memory:
            self._max_rows = max(1, (len(rows) + (len(self._batch) if self._batch is not None else 0)) // 2)
            log.warning("out of memory: continuing with batches of at most %d rows", self._max_rows)
        else:
            for row in rows:
                row.must_run_alone = True
        self._waiting = {row.number: row for row in rows} | self._waiting


def _can_share_batch(oldest: ActiveRow, row: ActiveRow) -> bool:
    """Whether the prompts of both rows can be evaluated in one pass."""
    if row is oldest:
        return True
    same = row.settings == oldest.settings and row.prompt.shapes == oldest.prompt.shapes
    return same and not row.must_run_alone and not oldest.must_run_alone


def _failure(error: Exception, no_memory: bool) -> RequestError:
    if isinstance(error, RequestError):
        return error
    reason = f"the model failed at this row: {error!r}"
    if no_memory:
        reason = (
            f"this row alone needs more memory than there is: {error}. Lower generation.max_new_tokens, shorten the "
        )
        reason += "prompt, or load the model in fewer bits"
    return RequestError(reason, error_type=InferenceErrorType.RUNTIME)
