"""Checks an answer against its JSON schema, for keywords that a grammar cannot express.

Schemas and answers are untrusted, so the work is limited: by a budget of evaluated keywords, and by a timeout for each
regular expression. Python's `re` has no timeout, so the package `regex` is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

from asyncinfer.errors import MissingDependencyError, error_name_and_text

MAX_STEPS = 50_000
"""The most keywords that are evaluated; about 0.2 s."""
MAX_DEPTH = 160
"""The most keywords that are evaluated within each other. Each takes up to 4 of Python's 1,000 frames. Beyond those,
jsonschema's own mappings, which are written in Rust, panic."""
REGEX_SECONDS = 0.5


class Violation(NamedTuple):
    """How an answer violates its schema.

    Args:
        path: The place in the answer as a JSON path. `$` is the whole answer.
        problem: What is wrong there.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class UncheckableError(Exception):
    """It cannot be found out whether an answer is valid: the schema is at fault, or it takes too long.

    Attributes:
        reason: Why it cannot be found out.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"it cannot be checked: {reason}")
        self.reason = reason


class _TooMuchWork(Exception):
    pass


def require_packages() -> None:
    """Raise MissingDependencyError if a package that `violation` needs is not installed."""
    if find_spec("jsonschema") is None:
        raise MissingDependencyError("jsonschema", "schema")
    if find_spec("regex") is None:
        raise MissingDependencyError("regex", "schema")


def violation(schema: str, answer: Any) -> Violation | None:
    """How `answer`, a JSON value, violates the schema; None if it is valid.

    Args:
        schema: JSON text.

    Raises:
        UncheckableError: The schema is invalid, or refers to itself endlessly, or the answer is nested too deep, or the
            check takes too long. The cause is the error that shows it.
    """
    work = _WORK.set(_Work())
    try:
        error = next(iter(_validator(json.loads(schema)).iter_errors(answer)), None)
    except _TooMuchWork as error:
        raise UncheckableError(str(error)) from error
    except Exception as error:
        raise UncheckableError(error_name_and_text(error)) from error
    finally:
        _WORK.reset(work)
    return None if error is None else Violation(error.json_path, error.message[:200])


def validator_class(schema: Any) -> Any:
    """The validator for the version of JSON Schema that a schema names; for the latest one by default."""
    validators: Any = import_module("jsonschema.validators")
    return validators.validator_for(schema, default=import_module("jsonschema").Draft202012Validator)


def _validator(schema: Any) -> Any:
    # This registry knows the specifications, and downloads nothing.
    return _limited_class(validator_class(schema))(schema, registry=import_module("jsonschema_specifications").REGISTRY)


@cache
def _limited_class(kind: Any) -> Any:
    """A validator with limits. To make its class takes about 2 ms, so each version of JSON Schema has one."""
    keywords: Mapping[str, _Keyword] = {**kind.VALIDATORS, **_WITH_REGEX}
    checks = {name: _limited(check) for name, check in keywords.items()}
    limited = import_module("jsonschema.validators").extend(kind, checks)
    # A schema within the schema may name a version too. jsonschema would go on with its own functions, without limits.
    limited.evolve = import_module("attrs").evolve
    return limited


_Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


@dataclass(slots=True)
class _Work:
    """How many keywords one check has evaluated, and how many it is evaluating within each other."""

    steps: int = 0
    depth: int = 0


_WORK = ContextVar[_Work]("work")


def _limited(check: _Keyword) -> _Keyword:
    """`check`, which raises an error at a limit."""

    def evaluate(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        work = _WORK.get()
        work.steps += 1
        if work.steps > MAX_STEPS:
            raise _TooMuchWork(f"it takes more than {MAX_STEPS} steps")
        if work.depth == MAX_DEPTH:
            raise RecursionError("it is nested too deep")
        work.depth += 1
        try:
            yield from check(validator, value, instance, schema) or ()
        finally:
            work.depth -= 1

    return evaluate


def _matches(pattern: str, text: str) -> bool:
    return import_module("regex").search(pattern, text, timeout=REGEX_SECONDS, concurrent=True) is not None


def _pattern(_: Any, pattern: Any, instance: Any, __: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield _error(f"{instance[:100]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[Any]:
    for pattern, schema in _items(patterns):
        for name, value in _items(instance):
            if _matches(pattern, name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    listed, patterns = (
        dict(_items(schema.get("properties"))),
        [one for one, _ in _items(schema.get("patternProperties"))],
    )
    for name, value in _items(instance):
        if name in listed or any(_matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield _error(f"additional properties are not allowed: {name[:100]!r}")
        elif allowed is not True:
            yield from validator.descend(value, allowed, path=name)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return cast(dict[str, Any], value).items() if isinstance(value, dict) else ()


def _error(message: str) -> Exception:
    return import_module("jsonschema").ValidationError(message)


# These replace jsonschema's own functions, which use `re`.
_WITH_REGEX: dict[str, _Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
