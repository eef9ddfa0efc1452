"""Finds out from a JSON schema alone why answers cannot be checked against it.

The references are those of the library `referencing`, which `jsonschema` uses too, so that both find the same schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.json_schema.violation import validator_class

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords whose schemas apply to the same value as the schema that has them: one schema, lists, and schemas by name.
_ONE, _LISTS, _NAMED = ("not", "if", "then", "else"), ("allOf", "anyOf", "oneOf"), ("dependentSchemas", "dependencies")


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Why no answer can be checked against this schema; None if no reason is found.

    The schema is not valid, a regular expression cannot be compiled, or a reference leads nowhere, out of the schema,
    or back to itself.
    """
    jsonschema: Any = import_module("jsonschema")
    try:
        # Without formats: they include regular expressions, which would be those of `re`.
        validator_class(schema).check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
    except jsonschema.SchemaError as error:
        return f"{error.json_path}: {error.message[:200]}"
    except Exception:  # Such as a schema that is nested too deep.
        pass
    return _Schemas(schema).problem()


class _Part(NamedTuple):
    """One schema within the whole, and what resolves its references."""

    schema: Any
    resolver: Any


class _Schemas:
    """All schemas that a schema consists of, and those that it refers to."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        dialect = validator_class(schema).META_SCHEMA["$schema"]
        self._specification = import_module("referencing.jsonschema").specification_with(dialect)
        registry = import_module("jsonschema_specifications").REGISTRY
        resolver = registry.resolver_with_root(self._specification.create_resource(schema))
        self._root = _Part(schema, resolver)
        # By the ids of schemas: the schemas that apply to the same value, and one reference.
        self._same_value: dict[int, list[int]] = {}
        self._references: dict[int, str] = {}

    def problem(self) -> str | None:
        """The first problem that is found; None if there is none."""
        left = [self._root]
        while left:
            part = left.pop()
            if isinstance(part.schema, bool) or id(part.schema) in self._same_value:
                continue
            try:
                if (problem := _regex_problem(part.schema)) is not None:
                    return problem
                targets = self._targets(part)
                left += [*targets, *self._inner(part)]
            except _NoTargetError as error:
                return str(error)
            except Exception:  # A reference leads to something that is not a schema.
                return f"{str(part.schema)[:100]!r} is not a schema"
            below = chain((target.schema for target in targets), _of_same_value(part.schema))
            self._same_value[id(part.schema)] = [id(one) for one in below]
        return self._endless()

    def _targets(self, part: _Part) -> list[_Part]:
        """The schemas that the references of a schema lead to.

        Raises:
            _NoTargetError: A reference leads nowhere.
        """
        unresolvable = import_module("referencing.exceptions").Unresolvable
        found: list[_Part] = []
        for keyword in _REFERENCES:
            if isinstance(reference := part.schema.get(keyword), str):
                self._references[id(part.schema)] = reference
                try:
                    resolved = part.resolver.lookup(reference)
                except (unresolvable, ValueError):
                    raise _NoTargetError(reference) from None
                found.append(_Part(resolved.contents, resolved.resolver))
        return found

    def _inner(self, part: _Part) -> Iterator[_Part]:
        """The schemas directly within a schema."""
        for inner in self._specification.subresources_of(part.schema):
            yield _Part(inner, part.resolver.in_subresource(self._specification.create_resource(inner)))

    def _endless(self) -> str | None:
        """Find a reference that leads back to itself for the same value: to check a value would never end."""
        try:
            TopologicalSorter(self._same_value).prepare()
        except CycleError as error:
            circle = reversed(error.args[1])  # Each schema comes before those that it applies to the same value.
            reference = next(self._references[one] for one in circle if one in self._references)
            return f"the reference {reference[:100]!r} leads back to itself"
        return None


class _NoTargetError(Exception):
    def __init__(self, reference: str) -> None:
        where = "" if reference.startswith("#") else ", and no other schema is loaded"
        super().__init__(f"the schema has nothing at {reference[:100]!r}{where}")


def _of_same_value(schema: Any) -> Iterator[Any]:
    """Yield the schemas within a schema that apply to the same value."""
    for keyword in _ONE:
        if keyword in schema:
            yield schema[keyword]
    for keyword in _LISTS:
        yield from schema.get(keyword, ())
    for keyword in _NAMED:
        yield from cast(dict[str, Any], schema.get(keyword, {})).values()


def _regex_problem(schema: Any) -> str | None:
    regex: Any = import_module("regex")
    for pattern in (schema.get("pattern"), *schema.get("patternProperties", ())):
        try:
            if isinstance(pattern, str):
                regex.compile(pattern)
        except regex.error as error:
            return f"{pattern[:100]!r} is not a regular expression: {error}"
    return None
