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
from asyncinfer.engines.local.structured.bounds import Bounded, bounded, rewritten
from asyncinfer.engines.local.structured.check import violation
from asyncinfer.engines.local.structured.fallbacks import without_failing, without_merged
from asyncinfer.engines.local.structured.objects import closes
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.errors import InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.results import Completion, FinishReason

if TYPE_CHECKING:
    from asyncinfer.engines.local.structured.guide import Guide

log = logging.getLogger("asyncinfer")

# llguidance warns with this if it cannot prove that the options of a `oneOf` exclude each other. Usually they do.
_ONE_OF = "oneOf not fully supported"


class Compiled(NamedTuple):
    """The result of compiling a grammar. `error` is empty on success; `matcher` is llguidance's, if one was made."""

    error: str
    warnings: list[str]
    matcher: Any = None


class Fitted(NamedTuple):
    """A structure that a grammar can express, and its matcher. `whole`: the full schema, as JSON text, to check the
    answer against; None if the grammar expresses all of it.
    """

    structure: Structure
    matcher: Any = None
    whole: str | None = None


class Constraint(NamedTuple):
    """The constraint of one row. `guide` is None if the engine itself applies the grammar."""

    fitted: Fitted
    guide: Guide | None = None

    @property
    def is_checked(self) -> bool:
        """Whether `check` has anything to do."""
        return self.fitted.whole is not None

    def check(self, generation: GenerationParams, completion: Completion) -> RequestError | None:
        """The error if the answer violates its schema; None if it is valid, or was cut off. May take a second."""
        setting, whole = self.fitted.structure.setting, self.fitted.whole
        if whole is None or completion.finish_reason == FinishReason.LENGTH:
            return None
        found = next((why for answer in _answers(self.fitted, completion) if (why := violation(whole, answer))), None)
        if found is None:
            return None
        return RequestError(
            f"{setting}: the answer violates the schema, in what the grammar cannot express: {found}",
            error_type=InferenceErrorType.PARSE_ERROR,
            # With random sampling, another attempt may be valid. A greedy or seeded answer would be the same again.
            is_retryable=generation.seed is None and (generation.temperature > 0 or generation.use_sampling),
        )


def fitted(structure: Structure, compile: Callable[[Structure], Compiled]) -> Fitted:
    """The structure without the keywords that the grammar cannot express. They are logged.

    Raises:
        RequestError: no grammar can express the structure.
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
    schema = forbid_extra(schema)
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


def forbid_extra(schema: Any) -> Any:
    """The schema with `additionalProperties: false` for objects that list properties and do not mention others. Without
    it, a small model keeps inventing properties.
    """

    def close(node: dict[str, Any], _: str) -> dict[str, Any]:
        return {**node, "additionalProperties": False} if closes(node) else node

    return rewritten(schema, close)


def _impossible(structure: Structure, error: str) -> RequestError:
    return invalid_request(f"{structure.setting}: no grammar can express it: {_reason(error)}")


def _reason(error: str) -> str:
    """The message of llguidance, without its grammar and the position in it, which the user did not write."""
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


def _answers(fit: Fitted, completion: Completion) -> Iterator[Any]:
    """Yield the JSON values in the answer. Yields nothing if its text is not JSON: then it was cut off, for example by
    a stop string.
    """
    message = completion.message
    with suppress(ValueError, RecursionError):
        if not fit.structure.is_call:
            yield json.loads(message.compute_flattened_text_content())
            return
        for call in message.tool_calls or ():
            yield {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
