"""llama.cpp, one batch a step: a token for each row that writes, and parts of the prompts of those that read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.engines.local.answer import Answer
from asyncinfer.engines.local.llama_cpp.cache import PrefixCache, Slot
from asyncinfer.engines.local.llama_cpp.context import Part
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.prompt import Prompt
from asyncinfer.engines.local.llama_cpp.render import prompt_of
from asyncinfer.engines.local.llama_cpp.sampler import Sampler, Sampling
from asyncinfer.engines.local.logit_bias import biases
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, blaming_the_row
from asyncinfer.engines.local.temperature import LARGEST, effective
from asyncinfer.errors import RequestError
from asyncinfer.types.results import FinishReason, Usage


@dataclass(slots=True, eq=False)
class _ActiveRow:
    """A row in work. `slot`: its sequence, None while it waits for a prefix that another row is reading."""

    row: int
    request: Request
    prompt: Prompt
    sampler: Sampler
    answer: Answer
    limit: int
    slot: Slot | None = None
    cached_tokens: int = 0
    token: int | None = None
    count: int = 0


class LlamaStepper:
    """Answers rows with a LlamaModel, up to its `parallel` at once. A row comes and goes between any two steps."""

    def __init__(self, model: LlamaModel) -> None:
        self.slots = model.parallel
        self._model = model
        self._cache = PrefixCache(model.context, model.parallel)
        self._rows: dict[int, _ActiveRow] = {}

    @property
    def busy(self) -> bool:
        return bool(self._rows)

    def prepare(self, request: Request) -> Request:
        with blaming_the_row("llguidance"):
            return request.constrained(self._model.guides.start)

    def add(self, row: int, request: Request) -> None:
        with blaming_the_row("llama.cpp"):
            self._rows[row] = self._row(row, request)

    def step(self, emit: Emit) -> None:
        self._seat()
        self._look(emit)
        parts = {row.row: part for row, part in self._parts()}
        if not parts:
            return
        scores = iter(self._model.context.evaluate(list(parts.values())))
        for number, part in parts.items():
            row = self._rows[number]
            if row.token is None and row.slot is not None:
                row.slot.read += len(part.tokens)
            if part.scores:
                self._write(row, next(scores), emit)

    def abort(self, row: int) -> None:
        if row in self._rows:
            self._drop(self._rows[row])

    def close(self) -> None:
        with ExitStack() as steps:  # Runs every step in reverse order, even if one of them fails.
            steps.callback(self._model.close)
            for row in list(self._rows.values()):
                steps.callback(self._drop, row)

    def _row(self, row: int, request: Request) -> _ActiveRow:
        tools = request.tools
        constraint = request.constraint
        sampling = _sampling(request.generation, self._model.vocabulary)
        sampler = self._model.sampler(sampling, None if constraint is None else constraint.guide)
        try:
            prompt = prompt_of(request, self._model)
        except BaseException:
            sampler.close()
            raise
        return _ActiveRow(
            row,
            request,
            prompt,
            sampler,
            Answer(row, request, tools),
            min(request.generation.max_new_tokens, self._model.context_length - prompt.size),
        )

    def _seat(self) -> None:
        """Give each row its sequence, and keep those in use next to each other."""
        for row in self._rows.values():
            if row.slot is None and (slot := self._cache.take(row.prompt.places)) is not None:
                row.slot, row.cached_tokens = slot, row.prompt.tokens(slot.read)
        while (gap := self._cache.gap()) is not None:
            source, target = gap
            row = next(row for row in self._rows.values() if row.slot is source)
            self._cache.move(source, target)
            row.slot = target

    def _look(self, emit: Emit) -> None:
        """Let one row whose prompt goes on with a picture read it; it takes a batch of its own."""
        for row in self._rows.values():
            if row.slot is None or (picture := row.prompt.picture(row.slot.read)) is None or not self._model.vision:
                continue
            try:
                self._model.vision.read(picture, self._model.context, row.slot.number)
                row.slot.read += picture.positions
            except RequestError as error:
                self._drop(row)
                emit(row.row, error)
            return

    def _parts(self) -> Iterator[tuple[_ActiveRow, Part]]:
        """What to evaluate now: a token of each row that writes, and of the prompts what there is room for."""
        writing = [(row, row.slot, row.token) for row in self._rows.values() if row.slot and row.token is not None]
        for row, slot, token in writing:
            yield row, Part(slot.number, len(row.prompt.places) + row.count - 1, [token], True)
        room = self._model.batch_beside if writing else self._model.batch
        for row in self._rows.values():
            if row.slot is None or row.token is not None or room < 2:
                continue
            left = row.prompt.end_of_text(row.slot.read) - row.slot.read
            size = min(left, room)
            if left == size + 1 and size > 1:
                size -= 1  # One token left alone may be rounded otherwise.
            if size == 0:
                continue
            room -= size
            end = row.slot.read + size
            tokens = row.prompt.places[row.slot.read : end]
            yield row, Part(row.slot.number, row.slot.read, tokens, end == len(row.prompt.places))

    def _write(self, row: _ActiveRow, scores: Any, emit: Emit) -> None:
        try:
            finish = self._take(row, row.sampler.sample(scores), emit)
        except RequestError as error:
            self._drop(row)
            emit(row.row, error)
            return
        if finish is not None:
            read = row.prompt.size
            self._drop(row)
            row.answer.end(finish, Usage(read, row.count, read + row.count, cached_tokens=row.cached_tokens), emit)

    def _take(self, row: _ActiveRow, token: int, emit: Emit) -> FinishReason | None:
        """Add a token to the answer; why it ends there, if it does."""
        generation = row.request.generation
        if self._model.is_end(token) or token in (generation.stop_token_ids or ()):
            return FinishReason.STOP
        row.token = token
        row.count += 1
        piece = self._model.piece(token, special=not generation.skip_special_tokens)
        row.answer.add(piece, emit)
        if row.answer.stopped or row.sampler.ended:
            return FinishReason.STOP
        return FinishReason.LENGTH if row.count >= row.limit else None

    def _drop(self, row: _ActiveRow) -> None:
        del self._rows[row.row]
        with ExitStack() as steps:
            if row.slot is not None:
                steps.callback(self._cache.leave, row.slot)
            steps.callback(row.prompt.close)
            steps.callback(row.sampler.close)


def _sampling(generation: GenerationParams, vocabulary: int) -> Sampling:
    seed = random.getrandbits(32) if generation.seed is None else generation.seed
    return Sampling(
        temperature=effective(generation.temperature),
        top_p=1.0 if generation.top_p is None else generation.top_p,
        min_p=generation.min_p,
        frequency_penalty=_in_float(generation.frequency_penalty),
        presence_penalty=_in_float(generation.presence_penalty),
        # The largest value asks llama.cpp for a random seed.
        seed=seed % (2**32 - 1),
        logit_bias=biases(generation, vocabulary),
    )


def _in_float(penalty: float) -> float:
    """The penalty, bounded so that sums of penalties fit into a 32-bit float. Larger values have no further effect."""
    return max(-LARGEST, min(penalty, LARGEST))
