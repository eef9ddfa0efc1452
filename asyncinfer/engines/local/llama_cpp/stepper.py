"""Runs llama.cpp step by step. One step is one batch: a token of each row that generates, and parts of prompts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.engines.local.answer import AnswerBuilder, answer_limit
from asyncinfer.engines.local.llama_cpp.cache import PrefixCache, Slot
from asyncinfer.engines.local.llama_cpp.context import Part
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.prompt import Prompt
from asyncinfer.engines.local.llama_cpp.render import build_prompt
from asyncinfer.engines.local.llama_cpp.sampler import TOP_K, Sampler, Sampling
from asyncinfer.engines.local.logit_bias import token_biases
from asyncinfer.engines.local.logprobs import logprobs_of_token, text_of_bytes
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, row_errors
from asyncinfer.engines.local.temperature import MAX_TEMPERATURE, effective_temperature
from asyncinfer.errors import RequestError
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.usage import Usage


@dataclass(slots=True, eq=False)
class _ActiveRow:
    """A row in progress.

    Attributes:
        limit: The most tokens of the answer.
        slot: Its sequence. None while it waits for a prefix that another row is evaluating.
        token: The last token of the answer, which is not evaluated yet. None while the prompt is evaluated.
        count: How many tokens the answer has.
    """

    row: int
    request: Request
    prompt: Prompt
    sampler: Sampler
    answer: AnswerBuilder
    limit: int
    slot: Slot | None = None
    cached_tokens: int = 0
    token: int | None = None
    count: int = 0


class LlamaStepper:
    """Answers rows with a LlamaModel, up to `LlamaModel.parallel` at once. Rows start and end between any two steps."""

    def __init__(self, model: LlamaModel) -> None:
        self.slots = model.parallel
        self._model = model
        self._cache = PrefixCache(model.context, model.parallel)
        self._rows: dict[int, _ActiveRow] = {}

    @property
    def busy(self) -> bool:
        return bool(self._rows)

    def prepare(self, request: Request) -> Request:
        with row_errors("llguidance"):
            return request.with_constraint(self._model.guides.start)

    def add(self, row: int, request: Request) -> None:
        with row_errors("llama.cpp"):
            self._rows[row] = self._row(row, request)

    def step(self, emit: Emit) -> None:
        self._assign_slots()
        self._evaluate_image(emit)
        parts = {row.row: part for row, part in self._next_parts()}
        if not parts:
            return
        scores = iter(self._model.context.evaluate(list(parts.values())))
        for number, part in parts.items():
            row = self._rows[number]
            if row.token is None and row.slot is not None:
                row.slot.evaluated += len(part.tokens)
            if part.needs_scores:
                self._choose_token(row, next(scores), emit)

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
            prompt = build_prompt(request, self._model)
        except BaseException:
            sampler.close()
            raise
        return _ActiveRow(
            row,
            request,
            prompt,
            sampler,
            AnswerBuilder(row, request, tools),
            answer_limit(request.generation, self._model.context_length - prompt.size),
        )

    def _assign_slots(self) -> None:
        """Assign a sequence to each row, and keep the sequences in use adjacent."""
        for row in self._rows.values():
            if row.slot is None and (slot := self._cache.acquire(row.prompt.positions)) is not None:
                row.slot, row.cached_tokens = slot, row.prompt.tokens_before(slot.evaluated)
        while (gap := self._cache.find_gap()) is not None:
            source, target = gap
            row = next(row for row in self._rows.values() if row.slot is source)
            self._cache.move(source, target)
            row.slot = target

    def _evaluate_image(self, emit: Emit) -> None:
        """Evaluate the next image of one row. An image needs a batch of its own."""
        for row in self._rows.values():
            if row.slot is None or (image := row.prompt.image_at(row.slot.evaluated)) is None or not self._model.vision:
                continue
            try:
                self._model.vision.evaluate(image, self._model.context, row.slot.number)
                row.slot.evaluated += image.positions
            except RequestError as error:
                self._drop(row)
                emit(row.row, error)
            return

    def _next_parts(self) -> Iterator[tuple[_ActiveRow, Part]]:
        """What to evaluate now: the last token of each row that generates, and as much of the prompts as fits."""
        generating = [(row, row.slot, row.token) for row in self._rows.values() if row.slot and row.token is not None]
        for row, slot, token in generating:
            yield row, Part(slot.number, len(row.prompt.positions) + row.count - 1, [token], True)
        room = self._model.batch_while_generating if generating else self._model.batch
        for row in self._rows.values():
            if row.slot is None or row.token is not None or room < 2:
                continue
            left = row.prompt.end_of_text(row.slot.evaluated) - row.slot.evaluated
            size = min(left, room)
            if left == size + 1 and size > 1:
                size -= 1  # Kernels may round differently for a single remaining token.
            if size == 0:
                continue
            room -= size
            end = row.slot.evaluated + size
            tokens = row.prompt.positions[row.slot.evaluated : end]
            yield row, Part(row.slot.number, row.slot.evaluated, tokens, end == len(row.prompt.positions))

    def _choose_token(self, row: _ActiveRow, scores: Any, emit: Emit) -> None:
        try:
            finish = self._append_token(row, row.sampler.sample(scores), scores, emit)
        except RequestError as error:
            self._drop(row)
            emit(row.row, error)
            return
        if finish is not None:
            size = row.prompt.size
            self._drop(row)
            usage = Usage(size, row.count, size + row.count, cached_tokens=row.cached_tokens)
            row.answer.finish(finish, usage, emit)

    def _append_token(self, row: _ActiveRow, token: int, scores: Any, emit: Emit) -> FinishReason | None:
        """Append a token to the answer. Returns the finish reason if the answer ends there."""
        generation = row.request.generation
        if self._model.is_end(token) or token in (generation.stop_token_ids or ()):
            return FinishReason.STOP
        row.token = token
        row.count += 1
        if generation.wants_logprobs:
            row.answer.add_logprobs(logprobs_of_token(scores, token, generation.top_logprobs, self._text_of))
        piece = self._model.piece(token, special=not generation.skip_special_tokens)
        row.answer.add(piece, emit)
        if row.answer.stopped or row.sampler.ended:
            return FinishReason.STOP
        return FinishReason.LENGTH if row.count >= row.limit else None

    def _text_of(self, token: int) -> tuple[str, list[int]]:
        return text_of_bytes(self._model.piece(token, special=True))

    def _drop(self, row: _ActiveRow) -> None:
        del self._rows[row.row]
        with ExitStack() as steps:
            if row.slot is not None:
                steps.callback(self._cache.release, row.slot)
            steps.callback(row.prompt.close)
            steps.callback(row.sampler.close)


def _sampling(generation: GenerationParams, vocabulary: int) -> Sampling:
    seed = random.getrandbits(32) if generation.seed is None else generation.seed
    return Sampling(
        temperature=effective_temperature(generation.temperature),
        top_k=TOP_K if generation.top_k is None else max(0, min(generation.top_k, vocabulary)),
        top_p=1.0 if generation.top_p is None else generation.top_p,
        min_p=generation.min_p,
        frequency_penalty=_in_float(generation.frequency_penalty),
        presence_penalty=_in_float(generation.presence_penalty),
        repetition_penalty=_in_float(generation.repetition_penalty),
        # llama.cpp takes the largest value as a request for a random seed.
        seed=seed % (2**32 - 1),
        logit_bias=token_biases(generation, vocabulary),
    )


def _in_float(penalty: float) -> float:
    """The penalty, bounded so that sums of penalties fit into a 32-bit float. Larger values have no further effect."""
    return max(-MAX_TEMPERATURE, min(penalty, MAX_TEMPERATURE))
