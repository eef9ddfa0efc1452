"""vLLM, one token of every running row a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from asyncinfer.dialects.finish_reasons import with_calls
from asyncinfer.engines.local.chat_prompt import takes_no_tools
from asyncinfer.engines.local.memo import Memo
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, blaming_the_row
from asyncinfer.engines.local.structured.constraint import Constraint, Fitted, fitted
from asyncinfer.engines.local.structured.guide import compiled_for_any, grammar_of
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.engines.local.vllm.messages import messages_of, text_messages
from asyncinfer.engines.local.vllm.model import VllmModel, chat_request
from asyncinfer.engines.local.vllm.reader import AnswerReader
from asyncinfer.engines.local.vllm.sampling import sampling, structured_outputs, with_parameters
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.results import Completion, FinishReason, Usage

_FINISHED = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "repetition": FinishReason.STOP}


class _Reading(NamedTuple):
    """How an answer is read, what holds it to a structure, and how to sample for that."""

    reader: AnswerReader
    structure: Mapping[str, Any] | None
    sampling: Mapping[str, Any]


@dataclass(slots=True)
class _ActiveRow:
    """A row in work. `internal` is vLLM's name for it; `guided`: its answer is held to a structure."""

    request: Request
    reader: AnswerReader
    internal: str
    guided: bool
    tokens: int = 0


class VllmStepper:
    """Answers rows with a VllmModel, which has its own queue and makes the batches.

    Raises:
        ConfigError: there is no such parser.
    """

    def __init__(self, model: VllmModel, *, tool_parser: str | None, reasoning_parser: str | None) -> None:
        self._model = model
        self._parser = model.parsers(tool_parser, reasoning_parser)
        self._parses_tools = tool_parser is not None
        self._rows: dict[int, _ActiveRow] = {}
        # vLLM compiles the grammar itself; llguidance is only used to find the parts that a grammar cannot express.
        self._fitted = Memo[Structure, Fitted](lambda structure: fitted(structure, compiled_for_any))

    @property
    def slots(self) -> int:
        return self._model.slots

    @property
    def busy(self) -> bool:
        return bool(self._rows)

    def prepare(self, request: Request) -> Request:
        with blaming_the_row("llguidance"):
            return request.constrained(lambda structure: Constraint(self._fitted[structure]))

    def add(self, row: int, request: Request) -> None:
        with blaming_the_row("vLLM"):
            tools = request.tools
            prompt = self._prompt(request, tools)
            room = self._room(prompt)
            reader, held_to, how = self._reading(request, tools)
            marked = [] if self._parses_tools else tools
            values = sampling(request.generation, room, marked) | {**how, "stream": request.stream}
        internal = self._model.add(str(row), prompt, values, held_to)
        self._rows[row] = _ActiveRow(request, reader, internal, guided=held_to is not None)

    def step(self, emit: Emit) -> None:
        for output in self._model.step():
            number = int(output.request_id)
            if (row := self._rows.get(number)) is not None:
                self._take(number, row, output, emit)

    def abort(self, row: int) -> None:
        if (taken := self._rows.pop(row, None)) is not None:
            self._model.abort(taken.internal)

    def close(self) -> None:
        self._rows.clear()
        self._model.close()

    # A row comes

    def _prompt(self, request: Request, tools: list[dict[str, Any]]) -> Any:
        template = request.model.chat_template
        known = template or self._model.chat_template
        if tools and known is not None and "tools" not in known:
            raise takes_no_tools()
        messages = messages_of(request.conversation, takes_images=self._model.takes_images)
        return self._model.render(messages, template, request.model.chat_template_kwargs or {}, tools)

    def _room(self, prompt: Any) -> int:
        """How many tokens the answer may have."""
        length, context = len(prompt.get("prompt_token_ids") or ()), self._model.context
        if length >= context:
            raise invalid_request(
                f"the prompt has {length} tokens, the context holds {context}: raise model.model_max_length"
            )
        return context - length

    def _reading(self, request: Request, tools: list[dict[str, Any]]) -> _Reading:
        constraint = request.constraint
        structure = None if constraint is None else constraint.fitted.structure
        marked = bool(tools) and not self._parses_tools
        # A tool parser of vLLM makes the structure of the call itself.
        by_parser = structure is not None and structure.is_call and not marked
        asked = None if structure is None or by_parser else self._outputs(structure)
        if self._parser is None:
            return _Reading(AnswerReader(marked=marked), asked, {})
        if structure is not None and by_parser:
            tools = with_parameters(tools, structure)
        return self._parsed(request, tools, asked, marked)

    def _outputs(self, structure: Structure) -> dict[str, Any]:
        # A vLLM engine uses one library for all structures, and those of its tool parsers are for xgrammar.
        if self._model.takes_lark and not self._parses_tools:
            return {"grammar": grammar_of(structure)}
        return structured_outputs(structure)

    def _parsed(
        self, request: Request, tools: list[dict[str, Any]], asked: dict[str, Any] | None, marked: bool
    ) -> _Reading:
        """As `_reading`, with vLLM's parsers, which may want another structure, and the special tokens."""
        shown = _strict(tools, request) if self._parses_tools else []
        generation, kwargs = request.generation, request.model.chat_template_kwargs
        chat = chat_request(
            model=self._model.config.model,
            messages=text_messages(request.conversation),
            tools=shown or None,
            tool_choice=(generation.tool_choice or "auto") if shown else None,
            parallel_tool_calls=generation.parallel_tool_calls,
            structured_outputs=asked,
            chat_template_kwargs=kwargs,
            skip_special_tokens=generation.skip_special_tokens,
        )
        make = partial(
            self._parser,
            self._model.tokenizer,
            chat.tools,
            model_config=self._model.config,
            chat_template_kwargs=kwargs or {},
        )
        chat = make().adjust_request(chat)
        adjusted = chat.extract_structured_outputs()
        reader = AnswerReader(make, chat, marked=marked, one_call=not generation.parallel_tool_calls)
        return _Reading(reader, adjusted and _set(adjusted), {"skip_special_tokens": chat.skip_special_tokens})

    # An answer comes

    def _take(self, number: int, row: _ActiveRow, output: Any, emit: Emit) -> None:
        (said,) = output.outputs
        row.tokens += len(said.token_ids)
        if row.request.stream:
            prompt: Sequence[int] = output.prompt_token_ids or ()
            delta = row.reader.push(said.text, said.token_ids, prompt, finished=output.finished)
            if delta is not None:
                emit(number, delta)
        if output.finished:
            del self._rows[number]
            emit(number, _completion(row, output))


def _completion(row: _ActiveRow, output: Any) -> Completion | RequestError:
    (said,) = output.outputs
    finish = _FINISHED.get(said.finish_reason)
    if finish is None:
        # A structure that no token can go on with is no better the next time.
        lost = row.guided and said.finish_reason == "error"
        why = ", as no token can continue what its answer must match" if lost else ""
        return RequestError(
            f"vLLM ended this row: {said.finish_reason}{why}",
            error_type=InferenceErrorType.RUNTIME,
            is_retryable=not lost,
            scope=ErrorScope.ROW if lost else ErrorScope.UNKNOWN,
        )
    message = row.reader.pushed() if row.request.stream else row.reader.read(said.text, said.token_ids)
    prompt = len(output.prompt_token_ids or ())
    usage = Usage(prompt, row.tokens, prompt + row.tokens, cached_tokens=output.num_cached_tokens)
    return Completion(message, with_calls(finish, message.tool_calls), usage)


def _strict(tools: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """The tools, held to their schemas where a call must be made; vLLM does so where it is said of a tool."""
    if request.generation.tool_choice in (None, "auto"):
        return tools
    return [{**tool, "function": {"strict": True, **tool["function"]}} for tool in tools]


def _set(structured: Any) -> dict[str, Any]:
    """What is set of vLLM's `StructuredOutputsParams`."""
    names = ("json", "regex", "choice", "grammar", "json_object", "structural_tag", "whitespace_pattern")
    return {name: value for name in names if (value := getattr(structured, name)) is not None}
