"""What holds an answer to its structure: a grammar while it is written, and a check afterwards of what the grammar
does not express.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncinfer.engines.chat_prompt import tools_of
from asyncinfer.engines.schema_bounds import Bounded, bounded, rewritten
from asyncinfer.engines.schema_check import violation
from asyncinfer.engines.schema_fallbacks import without_failing, without_merged
from asyncinfer.engines.schema_objects import closes
from asyncinfer.engines.structure import Structure, structure_of
from asyncinfer.errors import RequestError
from asyncinfer.run.request import Request
from asyncinfer.types.results import Completion, FinishReason, InferenceErrorType, unanswerable

if TYPE_CHECKING:
    from asyncinfer.engines.guide import Guide

log = logging.getLogger("asyncinfer")

# llguidance's warning for `oneOf` whose options it cannot tell apart. Mostly they exclude each other all the same.
_ONE_OF = "oneOf not fully supported"


class Compiled(NamedTuple):
    """What became of a structure's grammar: an error, or an empty text; warnings; llguidance's matcher, if one was
    made.
    """

    error: str
    warnings: list[str]
    matcher: Any = None


class Fitted(NamedTuple):
    """A structure that a grammar can express, and its grammar. `whole`: the schema to check the answer against, as JSON
    text; None if the grammar expresses all of it.
    """

    structure: Structure
    matcher: Any = None
    whole: str | None = None


class Constraint(NamedTuple):
    """`guide` is None where the engine has a grammar of its own."""

    fitted: Fitted
    guide: Guide | None = None

    @property
    def is_checked(self) -> bool:
        """Whether `check` has anything to do."""
        return self.fitted.whole is not None

    def check(self, request: Request, completion: Completion) -> RequestError | None:
        """Why the answer does not have its structure; None if it has, or was cut off. May take a second."""
        setting, whole = self.fitted.structure.setting, self.fitted.whole
        if whole is None or completion.finish_reason == FinishReason.LENGTH:
            return None
        found = next((why for answer in _answers(self.fitted, completion) if (why := violation(whole, answer))), None)
        if found is None:
            return None
        generation = request.generation
        return RequestError(
            f"{setting}: the answer violates the schema, in what the grammar cannot express: {found}",
            error_type=InferenceErrorType.PARSE_ERROR,
            # Another draw may do better; the likeliest answer stays the same.
            is_retryable=generation.seed is None and (generation.temperature > 0 or generation.use_sampling),
        )


def constrained(request: Request, start: Callable[[Structure], Constraint]) -> Request:
    """The request with its constraint, which `start` makes; unchanged where the answer is free.

    Raises:
        RequestError: the answer cannot be held to the structure.
    """
    structure = structure_of(request.generation, tools_of(request))
    return request if structure is None else request._replace(prepared=start(structure))


def constraint_of(request: Request) -> Constraint | None:
    """The constraint that `constrained` made; None where the answer is free."""
    prepared = request.prepared
    return prepared if isinstance(prepared, Constraint) else None


def fitted(structure: Structure, compile: Callable[[Structure], Compiled]) -> Fitted:
    """The structure without what the grammar cannot express. What it loses is logged.

    Raises:
        RequestError: no grammar can express it.
    """
    if structure.schema is not None:
        return _fitted_schema(structure, json.loads(structure.schema), compile)
    made = compile(structure)
    if made.error:
        raise _impossible(structure, made.error)
    return Fitted(structure, made.matcher)


def _fitted_schema(structure: Structure, schema: Any, compile: Callable[[Structure], Compiled]) -> Fitted:
    def attempt(schema: Any, is_call: bool = structure.is_call) -> tuple[Structure, Compiled]:
        candidate = structure._replace(schema=json.dumps(schema), is_call=is_call)
        return candidate, compile(candidate)

    def fails(part: Any) -> bool:
        return bool(attempt(part, is_call=False)[1].error)

    schema, dropped = bounded(schema, structure.setting)
    schema = closed(schema)
    fit, made = attempt(schema)
    fallbacks: tuple[Callable[[Any], Bounded], ...] = (partial(without_failing, fails=fails), without_merged)
    for fallback in fallbacks:
        if made.error:
            schema, lost = fallback(schema)
            dropped += lost
            fit, made = attempt(schema) if lost else (fit, made)
    if made.error:
        raise _impossible(structure, made.error)
    unsupported = dict.fromkeys(warning for warning in made.warnings if not warning.startswith(_ONE_OF))
    if inexpressible := [*dropped, *unsupported]:
        _warn(structure.setting, inexpressible)
    return Fitted(fit, made.matcher, structure.schema if dropped or made.warnings else None)


def closed(schema: Any) -> Any:
    """The schema with no properties but those it lists, where it does not speak of others: a small model else goes on
    inventing some.
    """

    def close(node: dict[str, Any], _: str) -> dict[str, Any]:
        return {**node, "additionalProperties": False} if closes(node) else node

    return rewritten(schema, close)


def _impossible(structure: Structure, error: str) -> RequestError:
    return unanswerable(f"{structure.setting}: no grammar can express it: {_reason(error)}")


def _reason(error: str) -> str:
    """What is wrong, without the grammar and the place in it, which are not the user's."""
    text = re.split(r"\n\s+\d+ \| |\n<backtrace>", error)[0].rpartition("\nerror: ")[2]
    return " ".join(re.sub(r"^(at )?\d+\(\d+\): ", "", text).split())[:300]


def _warn(setting: str, lost: list[str]) -> None:
    shown = "; ".join(lost[:5]) + (f"; and {len(lost) - 5} more" if len(lost) > 5 else "")
    log.warning(
        "%s: the grammar cannot express all of the schema; these are checked after the answer, and a row whose answer "
        "violates them fails: %s",
        setting,
        shown,
    )


def _answers(fit: Fitted, completion: Completion) -> Iterator[Any]:
    """The JSON values of the answer. A text that is no JSON was cut off, by a stop string for instance."""
    message = completion.message
    with suppress(ValueError, RecursionError):
        if not fit.structure.is_call:
            yield json.loads(message.compute_flattened_text_content())
            return
        for call in message.tool_calls or ():
            yield {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
