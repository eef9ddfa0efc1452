"""One row of the Transformers engine: its answer so far, and how its next token is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from random import Random
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.engines.local.answer import AnswerBuilder, answer_limit
from asyncinfer.engines.local.logit_bias import token_biases
from asyncinfer.engines.local.logprobs import logprobs_of_token
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit
from asyncinfer.engines.local.temperature import effective_temperature
from asyncinfer.engines.local.transformers.model import Prompt, TransformersModel
from asyncinfer.errors import invalid_request
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.usage import Usage

# What a tokenizer decodes an incomplete character to.
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class BatchSettings(NamedTuple):
    """The settings that all rows of a batch have in common.

    Args:
        temperature: 0 means the likeliest token.
        top_k: 0 means all tokens; None means the default of the model.
        repetition_penalty: 1 means the default of the model.
        beam_search: Further settings of a beam search, which ends for all its rows together and samples for all of
            them.
    """

    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    beams: int
    use_cache: bool
    batch_size: int | None
    repetition_penalty: float = 1.0
    beam_search: tuple[Any, ...] = ()


def settings_of(generation: GenerationParams) -> BatchSettings:
    return BatchSettings(
        temperature=effective_temperature(generation.temperature),
        top_p=1.0 if generation.top_p is None else generation.top_p,
        top_k=None if generation.top_k is None else max(0, generation.top_k),
        repetition_penalty=generation.repetition_penalty,
        min_p=generation.min_p,
        beams=generation.num_beams,
        use_cache=generation.use_cache,
        batch_size=generation.batch_size,
        beam_search=_beam_search_settings(generation) if generation.num_beams > 1 else (),
    )


def _beam_search_settings(generation: GenerationParams) -> tuple[Any, ...]:
    return generation.max_new_tokens, tuple(generation.stop_token_ids or ()), generation.seed


class ActiveRow:
    """A row in progress. It keeps its state if its batch runs out of memory, and continues in another batch.

    Attributes:
        tokens: The answer so far.
        limit: The most tokens of the answer.
        dropped: Whether the row is finished or aborted.
        must_run_alone: Whether the row cannot share a batch.
        adjusts_scores: Whether `adjust_scores` has an effect.
        wants_logprobs: Whether `keep_scores` must be called before the scores are changed.
    """

    def __init__(self, number: int, request: Request, model: TransformersModel) -> None:
        """
        Raises:
            RequestError: The row cannot be answered with these settings.
        """
        generation, tools = request.generation, request.tools
        self.number, self.request = number, request
        self.settings = settings_of(generation)
        self.prompt: Prompt = model.prompt(request)
        self.tokens: list[int] = []
        self.dropped = False
        self.limit = answer_limit(generation, model.context - len(self.prompt.tokens))
        constraint = request.constraint
        self.guide = None if constraint is None else constraint.guide
        if self.settings.beams > 1:
            self._check_beams(model)
        # Without a cache, images are evaluated for each token. A beam search has no random numbers of each row.
        self.must_run_alone = bool(self.prompt.extras) and not self.settings.use_cache
        self.must_run_alone |= (
            self.settings.beams > 1 and self.settings.temperature > 0.0 and generation.seed is not None
        )
        self._random = Random(generation.seed)
        self._biases = token_biases(generation, model.vocabulary)
        penalties = generation.frequency_penalty or generation.presence_penalty
        self.adjusts_scores = bool(penalties or self._biases or self.guide is not None)
        self.wants_logprobs = generation.wants_logprobs
        self._raw_scores: Any = None
        self._end_tokens = model.end_tokens.union(generation.stop_token_ids or ())
        self._decoder = _Decoder(model.tokenizer, generation.skip_special_tokens)
        self._whole_decoder = _Decoder(model.tokenizer, skip_special_tokens=False)
        prefix = "" if generation.exclude_prompt_from_response else self._decoder.decode(self.prompt.tokens)
        self._answer = AnswerBuilder(number, request, tools, prefix)

    @property
    def length(self) -> int:
        """How many tokens a batch must evaluate before it continues this row."""
        return len(self.prompt.tokens) + len(self.tokens)

    def adjust_scores(self, scores: Any, tokens: Sequence[int]) -> None:
        """Apply biases, penalties and the guide to the scores of the token after `tokens`, in place."""
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

    def keep_scores(self, scores: Any) -> None:
        """Keep the raw scores of the next token, for its log probability."""
        self._raw_scores = scores.float().cpu().numpy().copy()

    def draw(self) -> float:
        """The row's next random number, from 0 to below 1."""
        return self._random.random()

    def append(self, token: int, emit: Emit) -> bool:
        """Append a token to the answer. Returns whether the row has ended. Its Completion or error is then emitted."""
        if self.guide is not None and self.guide.failure is not None:
            return self._fail(self.guide.failure, emit)
        if token in self._end_tokens:
            return self._finish(FinishReason.STOP, emit)
        if self.wants_logprobs:
            count = self.request.generation.top_logprobs
            self._answer.add_logprobs(logprobs_of_token(self._raw_scores, token, count, self._text_of))
        self.tokens.append(token)
        if self._answer.needs_each_token:
            self._answer.add(_bytes(self._decoder.push(token)), emit)
        if self.guide is not None:
            self.guide.take(token)
            if self.guide.failure is not None:
                return self._fail(self.guide.failure, emit)
        if self._answer.stopped or (self.guide is not None and self.guide.ended):
            return self._finish(FinishReason.STOP, emit)
        return len(self.tokens) >= self.limit and self._finish(FinishReason.LENGTH, emit)

    def finish_with(self, tokens: Sequence[int], emit: Emit) -> None:
        """Append a complete answer, and end the row."""
        for token in tokens:
            if self.append(token, emit):
                return
        self._finish(FinishReason.STOP, emit)

    def _text_of(self, token: int) -> tuple[str, None]:
        """The text of a token that follows the answer so far. It depends on the token before it."""
        before = (self.tokens or self.prompt.tokens)[-1:]
        text, both = self._whole_decoder.decode(before), self._whole_decoder.decode([*before, token])
        return both.removeprefix(text) if both.startswith(text) else self._whole_decoder.decode([token]), None

    def _fail(self, reason: str, emit: Emit) -> bool:
        self.dropped = True
        emit(self.number, invalid_request(f"generation.guided_decoding: the answer could not be continued: {reason}"))
        return True

    def _finish(self, reason: FinishReason, emit: Emit) -> bool:
        self.dropped = True
        if not self._answer.stopped:
            self._answer.add(_bytes(self._decoder.rest(self.tokens)), emit)
        prompt, answer = len(self.prompt.tokens), len(self.tokens)
        self._answer.finish(reason, Usage(prompt, answer, prompt + answer), emit)
        return True

    def _check_beams(self, model: TransformersModel) -> None:
        if self.guide is not None:
            raise invalid_request("generation.guided_decoding and generation.num_beams cannot be used together")
        if self.request.generation.wants_logprobs:
            raise invalid_request("generation.logprobs and generation.num_beams cannot be used together")
        if not model.fits_in_memory(self.settings.beams, len(self.prompt.tokens)):
            raise invalid_request(f"generation.num_beams: {self.settings.beams} beams take more memory than is free")


def _forbid(scores: Any, allowed: Any) -> None:
    """Set the scores of all tokens that are not in `allowed` to minus infinity, in place."""
    torch: Any = import_module("torch")
    mask = torch.from_numpy(allowed[: scores.shape[0]]).to(scores.device)
    scores[: len(mask)].masked_fill_(~mask, float("-inf"))
    scores[len(mask) :] = float("-inf")


class _Decoder:
    """Decodes tokens one by one. Holds back text that may still change, such as an incomplete character."""

    def __init__(self, tokenizer: Any, skip_special_tokens: bool) -> None:
        self._tokenizer_decode: Callable[..., str] = tokenizer.decode
        self._skip = skip_special_tokens
        self._tokens: list[int] = []
        # Decoding starts at token `_start`, because the text of a token depends on those before it. The text of the
        # tokens before `_returned` was returned.
        self._start = self._returned = 0

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer_decode(list(tokens), skip_special_tokens=self._skip)

    def push(self, token: int) -> str:
        self._tokens.append(token)
        before, now = self.decode(self._tokens[self._start : self._returned]), self.decode(self._tokens[self._start :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._start, self._returned = self._returned, len(self._tokens)
        return now[len(before) :]

    def rest(self, tokens: Sequence[int]) -> str:
        """The part of the text of all `tokens` that was not returned yet."""
        return self.decode(tokens[self._start :])[len(self.decode(tokens[self._start : self._returned])) :]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
