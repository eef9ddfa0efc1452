"""llama.cpp, one token a step, one row at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from asyncinfer.config import GenerationParams
from asyncinfer.engines import tool_calls
from asyncinfer.engines.chat_prompt import prompt_for, tools_of
from asyncinfer.engines.grammar import grammar_for
from asyncinfer.engines.llama_model import LlamaModel, Sampler, Sampling
from asyncinfer.engines.model_thread import Emit
from asyncinfer.engines.text_stream import TextStream
from asyncinfer.run.request import Request
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import Completion, FinishReason, StreamDelta, Usage, unanswerable


@dataclass(slots=True)
class _Row:
    """The row in work. `todo`: tokens of the prompt that are not evaluated yet."""

    row: int
    request: Request
    sampler: Sampler
    text: TextStream
    todo: list[int]
    prompt_tokens: int
    cached_tokens: int
    limit: int
    tools: bool
    token: int | None = None
    count: int = 0


class LlamaStepper:
    """Answers rows with a LlamaModel."""

    slots = 1

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._row: _Row | None = None

    @property
    def busy(self) -> bool:
        return self._row is not None

    def add(self, row: int, request: Request) -> None:
        tools = tools_of(request)
        prompt = self._prompt(request)
        sampler = self._sampler(request.generation, grammar_for(request.generation, tools))
        cached = self._model.begin(prompt)
        self._row = _Row(
            row,
            request,
            sampler,
            TextStream(request.generation.stop_strings or (), tool_calls.OPENING if tools else ""),
            prompt[cached:],
            len(prompt),
            cached,
            min(request.generation.max_new_tokens, self._model.context - len(prompt)),
            bool(tools),
        )

    def step(self, emit: Emit) -> None:
        row = self._row
        if row is None or not self._evaluate(row):
            return
        finish = self._take(row, row.sampler.sample(), emit)
        if finish is not None:
            self._finish(row, finish, emit)

    def abort(self, row: int) -> None:
        if self._row is not None and self._row.row == row:
            self._drop()

    def close(self) -> None:
        self._drop()
        self._model.close()

    def _evaluate(self, row: _Row) -> bool:
        """Evaluate the last token, or the next part of the prompt; whether a token can be picked now."""
        if row.token is not None:
            self._model.write(row.token)
            return True
        size = self._model.batch
        if len(row.todo) == size + 1:
            size -= 1  # One token left alone would be rounded otherwise.
        self._model.read(row.todo[:size])
        del row.todo[:size]
        return not row.todo

    def _take(self, row: _Row, token: int, emit: Emit) -> FinishReason | None:
        """Add a token to the answer; why it ends there, if it does."""
        generation = row.request.generation
        if self._model.is_end(token) or token in (generation.stop_token_ids or ()):
            return FinishReason.STOP
        row.token = token
        row.count += 1
        piece = self._model.piece(token, special=not generation.skip_special_tokens)
        self._tell(row, row.text.push(piece), emit)
        if row.text.stopped:
            return FinishReason.STOP
        return FinishReason.LENGTH if row.count >= row.limit else None

    def _finish(self, row: _Row, finish: FinishReason, emit: Emit) -> None:
        self._tell(row, row.text.finish(), emit)
        content, calls = tool_calls.parse(row.text.text) if row.tools else (row.text.text, [])
        if not calls:
            self._tell(row, row.text.held, emit)
        usage = Usage(row.prompt_tokens, row.count, row.prompt_tokens + row.count, cached_tokens=row.cached_tokens)
        message = Message(
            role=Role.ASSISTANT,
            content=content if content.strip() or not calls else None,
            tool_calls=calls or None,
        )
        self._drop()
        emit(row.row, Completion(message, FinishReason.TOOL_CALLS if calls else finish, usage))

    def _tell(self, row: _Row, text: str, emit: Emit) -> None:
        if text and row.request.stream:
            emit(row.row, StreamDelta(content=text))

    def _drop(self) -> None:
        row, self._row = self._row, None
        if row is not None:
            row.sampler.close()

    def _prompt(self, request: Request) -> list[int]:
        template = self._template(request)
        text = prompt_for(request, self._model.render(template), takes_tools="tools" in template)
        tokens = self._model.tokenize(text)
        if not tokens:
            raise unanswerable("the chat template renders this conversation to nothing")
        if len(tokens) >= self._model.context:
            raise unanswerable(
                f"the prompt has {len(tokens)} tokens, the context holds {self._model.context}: raise "
                f"model.model_max_length (the model was trained with {self._model.trained_context})"
            )
        return tokens

    def _template(self, request: Request) -> str:
        template = request.model.chat_template or self._model.chat_template
        if template is None:
            raise unanswerable("the GGUF file has no chat template: set model.chat_template")
        return template

    def _sampler(self, generation: GenerationParams, grammar: str | None) -> Sampler:
        try:
            return self._model.sampler(_sampling(generation, grammar, self._model.vocabulary))
        except ValueError as error:
            raise unanswerable(f"llama.cpp cannot follow the grammar of this request: {error}") from error


def _sampling(generation: GenerationParams, grammar: str | None, vocabulary: int) -> Sampling:
    seed = random.getrandbits(32) if generation.seed is None else generation.seed
    return Sampling(
        temperature=generation.temperature,
        top_p=1.0 if generation.top_p is None else generation.top_p,
        min_p=generation.min_p,
        frequency_penalty=generation.frequency_penalty,
        presence_penalty=generation.presence_penalty,
        # The largest value asks llama.cpp for a random seed.
        seed=seed % (2**32 - 1),
        logit_bias=_biases(generation, vocabulary),
        grammar=grammar,
    )


def _biases(generation: GenerationParams, vocabulary: int) -> dict[int, float]:
    try:
        biases = {int(token): float(bias) for token, bias in generation.logit_bias.items()}
    except ValueError as error:
        raise unanswerable(f"generation.logit_bias: its keys are token ids: {error}") from error
    if strange := [token for token in biases if not 0 <= token < vocabulary]:
        raise unanswerable(f"generation.logit_bias: token ids go from 0 to {vocabulary - 1}, not {strange}")
    return biases
