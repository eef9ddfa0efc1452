"""Runs vLLM step by step. One step computes one token of each running row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from asyncinfer.dialects.finish_reasons import with_calls
from asyncinfer.dialects.response_metadata import logprobs_metadata
from asyncinfer.engines.local.chat_prompt import check_effort, template_variables, tools_unsupported
from asyncinfer.engines.local.memo import Memo
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, row_errors
from asyncinfer.engines.local.structured.constraint import Constraint, ReducedStructure, reduce_structure
from asyncinfer.engines.local.structured.guide import compile_without_tokenizer, grammar_of
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.engines.local.vllm.compat import chat_request
from asyncinfer.engines.local.vllm.logprobs import logprobs_of
from asyncinfer.engines.local.vllm.messages import messages_of, text_messages
from asyncinfer.engines.local.vllm.model import VllmModel
from asyncinfer.engines.local.vllm.reader import AnswerReader
from asyncinfer.engines.local.vllm.sampling import sampling, structured_outputs, with_parameters
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

# vLLM's finish reasons.
_FINISHED = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "repetition": FinishReason.STOP}


class _AnswerFormat(NamedTuple):
    """How to read an answer.

    Args:
        structure: The arguments of `StructuredOutputsParams`; None for free text.
        sampling: The sampling settings that the parser changes.
    """

    reader: AnswerReader
    structure: Mapping[str, Any] | None
    sampling: Mapping[str, Any]


@dataclass(slots=True)
class _ActiveRow:
    """A row in progress.

    Attributes:
        internal_name: vLLM's name for the row.
        guided: Whether the answer must match a structure.
        tokens: How many tokens the answer has.
    """

    request: Request
    reader: AnswerReader
    internal_name: str
    guided: bool
    tokens: int = 0


class VllmStepper:
    """Answers rows with a VllmModel, which has its own queue and makes the batches.

    Raises:
        ConfigError: vLLM has no such parser.
    """

    def __init__(self, model: VllmModel, *, tool_parser: str | None, reasoning_parser: str | None) -> None:
        self._model = model
        self._parser = model.parsers(tool_parser, reasoning_parser)
        self._parses_tools = tool_parser is not None
        self._rows: dict[int, _ActiveRow] = {}
        # vLLM compiles the grammar itself. Here, llguidance only finds the parts that a grammar cannot express.
        self._reduced = Memo[Structure, ReducedStructure](
            lambda structure: reduce_structure(structure, compile_without_tokenizer)
        )

    @property
    def slots(self) -> int:
        return self._model.slots

    @property
    def busy(self) -> bool:
        return bool(self._rows)

    def prepare(self, request: Request) -> Request:
        with row_errors("llguidance"):
            return request.with_constraint(lambda structure: Constraint(self._reduced[structure]))

    def add(self, row: int, request: Request) -> None:
        with row_errors("vLLM"):
            tools = request.tools
            prompt = self._prompt(request, tools)
            room = self._room(prompt)
            reader, structure, changed = self._answer_format(request, tools)
            own_format_tools = [] if self._parses_tools else tools
            values = sampling(request.generation, room, own_format_tools) | {**changed, "stream": request.stream}
        internal_name = self._model.add(str(row), prompt, values, structure)
        self._rows[row] = _ActiveRow(request, reader, internal_name, guided=structure is not None)

    def step(self, emit: Emit) -> None:
        for output in self._model.step():
            number = int(output.request_id)
            if (row := self._rows.get(number)) is not None:
                self._process(number, row, output, emit)

    def abort(self, row: int) -> None:
        if (active := self._rows.pop(row, None)) is not None:
            self._model.abort(active.internal_name)

    def close(self) -> None:
        self._rows.clear()
        self._model.close()

    # Starting a row

    def _prompt(self, request: Request, tools: list[dict[str, Any]]) -> Any:
        template = request.model.chat_template
        source = template or self._model.chat_template
        check_effort(request, source)
        if tools and source is not None and "tools" not in source:
            raise tools_unsupported()
        messages = messages_of(request.conversation, takes_images=self._model.takes_images)
        return self._model.render(messages, template, _variables(request), tools)

    def _room(self, prompt: Any) -> int:
        """How many tokens the context holds after the prompt."""
        length, context = len(prompt.get("prompt_token_ids") or ()), self._model.context
        if length >= context:
            raise invalid_request(
                f"the prompt has {length} tokens, the context holds {context}. Raise model.model_max_length"
            )
        return context - length

    def _answer_format(self, request: Request, tools: list[dict[str, Any]]) -> _AnswerFormat:
        constraint = request.constraint
        structure = None if constraint is None else constraint.reduced.structure
        own_format = bool(tools) and not self._parses_tools
        # A tool parser of vLLM makes the structure of the call itself.
        by_parser = structure is not None and structure.is_call and not own_format
        outputs = None if structure is None or by_parser else self._structured_outputs(structure)
        if self._parser is None:
            return _AnswerFormat(AnswerReader(own_format=own_format), outputs, {})
        if structure is not None and by_parser:
            tools = with_parameters(tools, structure)
        return self._parsed_format(request, tools, outputs, own_format)

    def _structured_outputs(self, structure: Structure) -> dict[str, Any]:
        # A vLLM engine uses one library for all structures. Its tool parsers need xgrammar.
        if self._model.accepts_lark and not self._parses_tools:
            return {"grammar": grammar_of(structure)}
        return structured_outputs(structure)

    def _parsed_format(
        self, request: Request, tools: list[dict[str, Any]], outputs: dict[str, Any] | None, own_format: bool
    ) -> _AnswerFormat:
        """The format with vLLM's parsers. They may need another structure, and special tokens in the text."""
        parsed_tools = _strict_tools(tools, request) if self._parses_tools else []
        generation, kwargs = request.generation, _variables(request) or None
        chat = chat_request(
            model=self._model.config.model,
            messages=text_messages(request.conversation),
            tools=parsed_tools or None,
            tool_choice=(generation.tool_choice or "auto") if parsed_tools else None,
            parallel_tool_calls=generation.parallel_tool_calls,
            structured_outputs=outputs,
            chat_template_kwargs=kwargs,
            skip_special_tokens=generation.skip_special_tokens,
        )
        make_parser = partial(
            self._parser,
            self._model.tokenizer,
            chat.tools,
            model_config=self._model.config,
            chat_template_kwargs=kwargs or {},
        )
        chat = make_parser().adjust_request(chat)
        adjusted = chat.extract_structured_outputs()
        reader = AnswerReader(make_parser, chat, own_format=own_format, one_call=not generation.parallel_tool_calls)
        return _AnswerFormat(
            reader, adjusted and _set_fields(adjusted), {"skip_special_tokens": chat.skip_special_tokens}
        )

    # Reading an answer

    def _process(self, number: int, row: _ActiveRow, output: Any, emit: Emit) -> None:
        (part,) = output.outputs
        row.tokens += len(part.token_ids)
        if row.request.stream:
            prompt: Sequence[int] = output.prompt_token_ids or ()
            delta = row.reader.push(part.text, part.token_ids, prompt, finished=output.finished)
            logprobs = logprobs_of(part, row.request.generation)
            if logprobs:
                delta = replace(delta or StreamDelta(), logprobs=logprobs)
            if delta is not None:
                emit(number, delta)
        if output.finished:
            del self._rows[number]
            emit(number, _completion(row, output))


def _variables(request: Request) -> dict[str, Any]:
    """The variables of the chat template."""
    return {name: value for name, value in template_variables(request).items() if name != "tools"}


def _completion(row: _ActiveRow, output: Any) -> Completion | RequestError:
    (answer,) = output.outputs
    finish = _FINISHED.get(answer.finish_reason)
    if finish is None:
        # If no token can continue an answer with a structure, another attempt fails in the same way.
        is_permanent = row.guided and answer.finish_reason == "error"
        reason = ", because no token can continue the answer with the required structure" if is_permanent else ""
        return RequestError(
            f"vLLM ended this row: {answer.finish_reason}{reason}",
            error_type=InferenceErrorType.RUNTIME,
            is_retryable=not is_permanent,
            scope=ErrorScope.ROW if is_permanent else ErrorScope.UNKNOWN,
        )
    message = row.reader.message() if row.request.stream else row.reader.read(answer.text, answer.token_ids)
    prompt = len(output.prompt_token_ids or ())
    usage = Usage(prompt, row.tokens, prompt + row.tokens, cached_tokens=output.num_cached_tokens)
    logprobs = () if row.request.stream else logprobs_of(answer, row.request.generation)
    metadata = logprobs_metadata(logprobs) or None
    return Completion(message, with_calls(finish, message.tool_calls), usage, metadata)


def _strict_tools(tools: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """The tools, marked as strict if a call is required: vLLM then enforces their schemas."""
    if request.generation.tool_choice in (None, "auto"):
        return tools
    return [{**tool, "function": {"strict": True, **tool["function"]}} for tool in tools]


def _set_fields(structured: Any) -> dict[str, Any]:
    """The fields of a `StructuredOutputsParams` that are set."""
    names = ("json", "regex", "choice", "grammar", "json_object", "structural_tag", "whitespace_pattern")
    return {name: value for name in names if (value := getattr(structured, name)) is not None}
