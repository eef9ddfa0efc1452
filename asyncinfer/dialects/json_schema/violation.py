"""Checks an answer against its JSON schema, for keywords that a grammar cannot express.

Schemas and answers are untrusted, so the work is limited: by a budget of evaluated keywords, and by a timeout for each
regular expression. Python's `re` has no timeout, so the package `regex` is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast
from urllib.parse import unquote

from asyncinfer.errors import MissingDependencyError

MAX_STEPS = 50_000
"""The most keywords that are evaluated; about 0.2 s."""
REGEX_SECONDS = 0.5
# Keywords whose values are data, and no schemas.
_DATA = frozenset({"const", "default", "enum", "examples"})


class _TooMuchWork(Exception):
    pass


def require_packages() -> None:
    """Raise MissingDependencyError if a package that `violation` needs is not installed."""
    if find_spec("jsonschema") is None:
        raise MissingDependencyError("jsonschema", "schema")
    if find_spec("regex") is None:
        raise MissingDependencyError("regex", "schema")


def violation(schema: str, answer: Any) -> str | None:
    """How `answer`, a JSON value, violates the schema; None if it is valid.

    Args:
        schema: JSON text.
    """
    try:
        error = next(iter(_validator(json.loads(schema)).iter_errors(answer)), None)
    except Exception as error:  # The schema may be invalid, or refer to itself endlessly.
        return f"it cannot be checked: {type(error).__name__}: {error}"
    return None if error is None else f"{error.json_path}: {error.message[:200]}"


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why no answer can be checked against this schema; None if no reason is found."""
    jsonschema: Any = import_module("jsonschema")
    try:
        # Without formats: they include regular expressions, which would be those of `re`.
        _kind(schema).check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
    except jsonschema.SchemaError as error:
        return f"{error.json_path}: {error.message[:200]}"
    except Exception:  # Such as a schema that is nested too deep.
        return None
    return next(_problems(schema, schema), None)


def _problems(part: object, schema: Mapping[str, Any]) -> Iterator[str]:
    """Regular expressions that cannot be compiled, and references within the schema that lead nowhere."""
    for name, value in _items(part):
        if name == "pattern" and isinstance(value, str) and (problem := _regex_problem(value)):
            yield f"{value[:100]!r} is not a regular expression: {problem}"
        elif name == "$ref" and isinstance(value, str) and not _leads_somewhere(value, schema):
            yield f"the schema has nothing at {value[:100]!r}"
        elif name not in _DATA:
            for inner in cast(list[object], value) if isinstance(value, list) else [value]:
                yield from _problems(inner, schema)


def _regex_problem(pattern: str) -> str | None:
    regex: Any = import_module("regex")
    try:
        regex.compile(pattern)
    except regex.error as error:
        return str(error)
    return None


def _leads_somewhere(reference: str, schema: Mapping[str, Any]) -> bool:
    if not reference.startswith("#/") or "$id" in schema:
        return True  # The validator finds it, or not.
    found: Any = schema
    for part in unquote(reference).removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(entries := cast(list[Any], found)):
            found = entries[int(name)]
        elif isinstance(found, dict) and name in (members := cast(dict[str, Any], found)):
            found = members[name]
        else:
            return False
    return True


def _kind(schema: Any) -> Any:
    validators: Any = import_module("jsonschema.validators")
    return validators.validator_for(schema, default=import_module("jsonschema").Draft202012Validator)


def _validator(schema: Any) -> Any:
    validators, kind = import_module("jsonschema.validators"), _kind(schema)
    budget = iter(range(MAX_STEPS))
    keywords: Mapping[str, _Keyword] = {**kind.VALIDATORS, **_WITH_REGEX}
    counted = {name: _counted(check, budget) for name, check in keywords.items()}
    # This registry knows the specifications, and downloads nothing.
    return validators.extend(kind, counted)(schema, registry=import_module("jsonschema_specifications").REGISTRY)


_Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


def _counted(check: _Keyword, budget: Iterator[int]) -> _Keyword:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if next(budget, None) is None:
            raise _TooMuchWork(f"it takes more than {MAX_STEPS} steps")
        yield from check(validator, value, instance, schema) or ()

    return counted


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
