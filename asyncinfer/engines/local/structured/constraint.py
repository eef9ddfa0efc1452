"""Constrains an answer to a structure: by a grammar during generation, and by a check of the finished answer for the
parts that the grammar cannot express.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.json_schema.violation import UncheckableError, violation
from asyncinfer.dialects.json_schema.walk import mentions
from asyncinfer.engines.local.structured.bounds import BoundedSchema, bound_schema, rewritten
from asyncinfer.engines.local.structured.fallbacks import without_failing, without_merged
from asyncinfer.engines.local.structured.objects import lists_all_properties
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.engines.local.temperature import effective_temperature
from asyncinfer.errors import InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason

if TYPE_CHECKING:
    from asyncinfer.engines.local.structured.guide import Guide

log = logging.getLogger("asyncinfer")

# llguidance gives this warning if it cannot prove that the options of a `oneOf` exclude each other. Usually they do.
_ONE_OF = "oneOf not fully supported"


class Compiled(NamedTuple):
    """The result of compiling a grammar. `error` is empty on success; `matcher` is llguidance's, if one was made."""

    error: str
    warnings: list[str]
    matcher: Any = None


class ReducedStructure(NamedTuple):
    """A structure without the parts that a grammar cannot express.

    Args:
        matcher: llguidance's matcher, if one was made.
        full_schema: The complete schema as JSON text, to check the answer against. None if the grammar expresses all
            of it.
    """

    structure: Structure
    matcher: Any = None
    full_schema: str | None = None


class Constraint(NamedTuple):
    """The constraint of one row. `guide` is None if the engine itself applies the grammar."""

    reduced: ReducedStructure
    guide: Guide | None = None

    @property
    def is_checked(self) -> bool:
        """Whether `check` has anything to do."""
        return self.reduced.full_schema is not None

    def check(self, generation: GenerationParams, completion: Completion) -> RequestError | None:
        """The error if the answer violates its schema; None if it is valid, or was cut off. May take a second."""
        setting, schema = self.reduced.structure.setting, self.reduced.full_schema
        if schema is None or completion.finish_reason == FinishReason.LENGTH:
            return None
        try:
            problem = next(
                (found for answer in _answers(self.reduced, completion) if (found := violation(schema, answer))), None
            )
        except UncheckableError as error:  # The schema is at fault.
            message = f"{setting}: the answer may violate the schema: {error}"
            return RequestError(message, error_type=InferenceErrorType.PARSE_ERROR)
        if problem is None:
            return None
        return RequestError(
            f"{setting}: the answer violates the schema, in a part that the grammar cannot express: {problem}",
            error_type=InferenceErrorType.PARSE_ERROR,
            # With random sampling, another attempt may be valid. A greedy or seeded answer would be the same again.
            is_retryable=generation.seed is None and effective_temperature(generation.temperature) > 0.0,
        )


def reduce_structure(structure: Structure, compile: Callable[[Structure], Compiled]) -> ReducedStructure:
    """The structure without the keywords that the grammar cannot express. Logs these keywords.

    Raises:
        RequestError: no grammar can express the structure.
    """
    if structure.schema is not None:
        return _reduce_schema(structure, json.loads(structure.schema), compile)
    compiled = compile(structure)
    if compiled.error:
        raise _unsupported(structure, compiled.error)
    return ReducedStructure(structure, compiled.matcher)


def _reduce_schema(structure: Structure, schema: Any, compile: Callable[[Structure], Compiled]) -> ReducedStructure:
    def attempt(schema: Any, is_call: bool = structure.is_call) -> tuple[Structure, Compiled]:
        candidate = structure._replace(schema=json.dumps(schema), is_call=is_call)
        return candidate, compile(candidate)

    def fails(part: Any) -> bool:
        return bool(attempt(part, is_call=False)[1].error)

    bounded, dropped = bound_schema(schema, structure.setting)
    schema = forbid_extra(bounded)
    # Options that forbid further properties may exclude each other although the options of the setting do not.
    is_narrower = schema != bounded and mentions(bounded, frozenset({"oneOf"}))
    reduced, compiled = attempt(schema)
    fallbacks: tuple[Callable[[Any], BoundedSchema], ...] = (partial(without_failing, fails=fails), without_merged)
    for fallback in fallbacks:
        if compiled.error:
            schema, lost = fallback(schema)
            dropped += lost
            reduced, compiled = attempt(schema) if lost else (reduced, compiled)
    if compiled.error:
        raise _unsupported(structure, compiled.error)
    unsupported = dict.fromkeys(warning for warning in compiled.warnings if not warning.startswith(_ONE_OF))
    if inexpressible := [*dropped, *unsupported]:
        _warn(structure.setting, inexpressible)
    is_checked = bool(dropped or compiled.warnings) or is_narrower
    return ReducedStructure(reduced, compiled.matcher, structure.schema if is_checked else None)


def forbid_extra(schema: Any) -> Any:
    """The schema with `additionalProperties: false` for objects that list properties and do not mention others. Without
    it, a small model keeps inventing properties.
    """

    def forbid(node: dict[str, Any], _: str) -> dict[str, Any]:
        return {**node, "additionalProperties": False} if lists_all_properties(node) else node

    return rewritten(schema, forbid)


def _unsupported(structure: Structure, error: str) -> RequestError:
    return invalid_request(f"{structure.setting}: no grammar can express it: {_reason(error)}")


def _reason(error: str) -> str:
    """The message of llguidance, without the grammar and the position in it: the user did not write the grammar."""
    text = re.split(r"\n\s+\d+ \| |\n<backtrace>", error)[0].rpartition("\nerror: ")[2]
    return " ".join(re.sub(r"^(at )?\d+\(\d+\): ", "", text).split())[:300]


def _warn(setting: str, lost: list[str]) -> None:
    shown = "; ".join(lost[:5]) + (f"; and {len(lost) - 5} more" if len(lost) > 5 else "")
    log.warning(
        "%s: the grammar cannot express these parts of the schema. They are checked after the answer, and a row whose "
        "answer violates them fails: %s",
        setting,
        shown,
    )


def _answers(reduced: ReducedStructure, completion: Completion) -> Iterator[Any]:
    """Yield the JSON values in the answer. Yields nothing if its text is not JSON: then it was cut off, for example by
    a stop string.
    """
    message = completion.message
    with suppress(ValueError, RecursionError):
        if not reduced.structure.is_call:
            yield json.loads(message.compute_flattened_text_content())
            return
        for call in message.tool_calls or ():
            yield {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
