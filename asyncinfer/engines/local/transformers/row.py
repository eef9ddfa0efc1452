"""One row of the native engine: what it has said so far, and what rules its next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from random import Random
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.engines.local.answer import Answer
from asyncinfer.engines.local.logit_bias import biases
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit
from asyncinfer.engines.local.temperature import effective
from asyncinfer.engines.local.transformers.model import NativeModel, Prompt
from asyncinfer.errors import invalid_request
from asyncinfer.types.results import FinishReason, Usage

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Settings(NamedTuple):
    """What is the same for all rows of a batch. Temperature 0 takes the likeliest token."""

    temperature: float
    top_p: float
    min_p: float
    beams: int
    use_cache: bool
    batch_size: int | None
    # A beam search ends for all its rows alike, and draws for all of them.
    of_search: tuple[Any, ...] = ()


def settings_of(generation: GenerationParams) -> Settings:
    """Sampling at an unset temperature is at 1, which leaves the probabilities as they are."""
    temperature = effective(generation.temperature)
    if generation.use_sampling and not generation.temperature:
        temperature = 1.0
    return Settings(
        temperature=temperature,
        top_p=1.0 if generation.top_p is None else generation.top_p,
        min_p=generation.min_p,
        beams=generation.num_beams,
        use_cache=generation.use_cache,
        batch_size=generation.batch_size,
        of_search=_of_search(generation) if generation.num_beams > 1 else (),
    )


def _of_search(generation: GenerationParams) -> tuple[Any, ...]:
    return generation.max_new_tokens, tuple(generation.stop_token_ids or ()), generation.seed


class ActiveRow:
    """A row in work. It keeps its state when a batch is given up for want of memory, and goes on in another."""

    def __init__(self, number: int, request: Request, model: NativeModel) -> None:
        """Raises RequestError when the row cannot be answered as it is asked."""
        generation, tools = request.generation, request.tools
        self.number, self.request = number, request
        self.settings = settings_of(generation)
        self.prompt: Prompt = model.prompt(request)
        self.tokens: list[int] = []
        # Nothing is to be done for it any more.
        self.dropped = False
        self.limit = min(generation.max_new_tokens, model.context - len(self.prompt.tokens))
        constraint = request.constraint
        self.guide = None if constraint is None else constraint.guide
        if self.settings.beams > 1:
            self._check_beams(model)
        # Without a cache the images are read each time, and a search's draws are not a row's own.
        self.alone = bool(self.prompt.extras) and not self.settings.use_cache
        self.alone |= self.settings.beams > 1 and self.settings.temperature > 0.0 and generation.seed is not None
        self._random = Random(generation.seed)
        self._biases = biases(generation, model.vocabulary)
        penalties = generation.frequency_penalty or generation.presence_penalty
        # Whether `rule` does anything.
        self.is_ruled = bool(penalties or self._biases or self.guide is not None)
        self._ends = model.ends.union(generation.stop_token_ids or ())
        self._decoder = _Decoder(model.tokenizer, generation.skip_special_tokens)
        prefix = "" if generation.exclude_prompt_from_response else self._decoder.whole(self.prompt.tokens)
        self._answer = Answer(number, request, tools, prefix)

    @property
    def length(self) -> int:
        """Tokens that a batch has to read before it goes on with this row."""
        return len(self.prompt.tokens) + len(self.tokens)

    def rule(self, scores: Any, tokens: Sequence[int]) -> None:
        """Change the scores of the token that follows `tokens`, in place."""
        torch: Any = import_module("torch")
        generation = self.request.generation
        if self._biases:
            ids = torch.tensor(list(self._biases), device=scores.device)
            scores[ids] += torch.tensor(list(self._biases.values()), dtype=scores.dtype, device=scores.device)
        if tokens and (generation.frequency_penalty or generation.presence_penalty):
            ids, counts = torch.tensor(tokens, device=scores.device).unique(return_counts=True)
            scores[ids] -= generation.frequency_penalty * counts + generation.presence_penalty
        if self.guide is not None:
            _forbid(scores, self.guide.allowed())

    def draw(self) -> float:
        """The row's next random number, from 0 to below 1."""
        return self._random.random()

    def take(self, token: int, emit: Emit) -> bool:
        """Add a token to the answer; whether the row is ended by it, and its Completion or failure emitted."""
        if self.guide is not None and self.guide.failure is not None:
            return self._fail(self.guide.failure, emit)
        if token in self._ends:
            return self._finish(FinishReason.STOP, emit)
        self.tokens.append(token)
        if self._answer.wants_each:
            self._answer.add(_bytes(self._decoder.push(token)), emit)
        if self.guide is not None:
            self.guide.take(token)
            if self.guide.failure is not None:
                return self._fail(self.guide.failure, emit)
        if self._answer.stopped or (self.guide is not None and self.guide.ended):
            return self._finish(FinishReason.STOP, emit)
        return len(self.tokens) >= self.limit and self._finish(FinishReason.LENGTH, emit)

    def answer(self, tokens: Sequence[int], emit: Emit) -> None:
        """Take a whole answer."""
        for token in tokens:
            if self.take(token, emit):
                return
        self._finish(FinishReason.STOP, emit)

    def _fail(self, why: str, emit: Emit) -> bool:
        self.dropped = True
        emit(self.number, invalid_request(f"generation.guided_decoding: it could not be followed to the end: {why}"))
        return True

    def _finish(self, reason: FinishReason, emit: Emit) -> bool:
        self.dropped = True
        if not self._answer.stopped:
            self._answer.add(_bytes(self._decoder.rest(self.tokens)), emit)
        asked, said = len(self.prompt.tokens), len(self.tokens)
        self._answer.end(reason, Usage(asked, said, asked + said), emit)
        return True

    def _check_beams(self, model: NativeModel) -> None:
        if self.guide is not None:
            raise invalid_request("generation.guided_decoding and generation.num_beams exclude each other here")
        if not model.holds(self.settings.beams, len(self.prompt.tokens)):
            raise invalid_request(f"generation.num_beams: {self.settings.beams} beams take more memory than is free")


def _forbid(scores: Any, allowed: Any) -> None:
    """Set the scores of all tokens that are not in `allowed` to minus infinity, in place."""
    torch: Any = import_module("torch")
    mask = torch.from_numpy(allowed[: scores.shape[0]]).to(scores.device)
    scores[: len(mask)].masked_fill_(~mask, float("-inf"))
    scores[len(mask) :] = float("-inf")


class _Decoder:
    """Text of tokens as they come. What may still change, such as half a character, waits."""

    def __init__(self, tokenizer: Any, skip_special_tokens: bool) -> None:
        self._decode: Callable[..., str] = tokenizer.decode
        self._skip = skip_special_tokens
        self._tokens: list[int] = []
        # Text is read from `_start`, so that a token is decoded with those before it; up to `_told` it was given out.
        self._start = self._told = 0

    def whole(self, tokens: Sequence[int]) -> str:
        return self._decode(list(tokens), skip_special_tokens=self._skip)

    def push(self, token: int) -> str:
        self._tokens.append(token)
        before, now = self.whole(self._tokens[self._start : self._told]), self.whole(self._tokens[self._start :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._start, self._told = self._told, len(self._tokens)
        return now[len(before) :]

    def rest(self, tokens: Sequence[int]) -> str:
        """What of the text of all `tokens` was not given out."""
        return self.whole(tokens[self._start :])[len(self.whole(tokens[self._start : self._told])) :]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
