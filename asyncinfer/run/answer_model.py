"""Parses and validates the text of an answer by the model of typed answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from asyncinfer.config import response_model as models
from asyncinfer.dialects.fields import members_of
from asyncinfer.dialects.json_answer import json_values
from asyncinfer.dialects.json_schema.soundness import schema_problem
from asyncinfer.dialects.json_schema.violation import UncheckableError, require_packages, violation
from asyncinfer.errors import ConfigError, error_name_and_text
from asyncinfer.types.json_object import json_object
from asyncinfer.types.short_repr import short_repr

_MOST_PROBLEMS = 5
# The types of JSON that no plain text can be. A null is JSON, too.
_STRUCTURED = frozenset({"object", "array", "null"})


class InvalidValueError(ValueError):
    """A text is not a value of the model. The message says what is wrong with which field."""


class UncheckedValueError(Exception):
    """A text cannot be validated, because the code or the schema of the model is at fault."""


class AnswerModel:
    """The model of typed answers.

    Args:
        model: A type that pydantic can validate, or a JSON schema.

    Attributes:
        type: The model as it was given.
        name: The name of the model in messages.
        schema: Its JSON schema.

    Raises:
        ConfigError: The model has no JSON schema or an invalid one, or a package that validates schemas is missing.
    """

    def __init__(self, model: Any) -> None:
        self.type, self.name = model, models.name_of(model)
        self.schema = models.schema_of(model)
        # An answer such as `positive` is a string, although it lacks the quotation marks of JSON.
        types = members_of(self.schema.get("type"))
        is_structured = bool(types) and _STRUCTURED.issuperset(types)
        self._may_be_text = not is_structured and "$ref" not in self.schema
        self._validate: Callable[[bytes | str], Any]
        self._adapter: TypeAdapter[Any] | None = None
        if isinstance(model, dict):
            require_packages()
            if (problem := schema_problem(self.schema)) is not None:
                raise ConfigError(f"generation.response_model: is not a valid JSON schema: {problem}")
            self._validate = _SchemaValidator(self.schema)
        else:
            self._adapter = TypeAdapter[Any](model)
            self._validate = self._adapter.validate_json

    def parse(self, text: str) -> Any:
        """Return the value that the text of an answer means.

        Raises:
            InvalidValueError: No value in the text fits the model.
            UncheckedValueError: The model's own code raised an error, or the schema cannot be evaluated.
        """
        return self._read(text)[0]

    def json_values(self, text: str) -> list[Any]:
        """Return what a valid answer means as JSON: the value of the result of `parse`, then the one it was made from.

        A JSON object is not validated again by a JSON schema.

        Raises:
            InvalidValueError, UncheckedValueError: As `parse` does. Also if a serializer of the model raises an error.
        """
        if self._adapter is None and (found := json_object(text)) is not None:
            return [found]
        value, json = self._read(text)
        try:
            dumped = [] if self._adapter is None else [self._adapter.dump_python(value, mode="json", by_alias=True)]
        except BaseException as error:
            raise UncheckedValueError(f"a serializer of {self.name} raised {error_name_and_text(error)}") from error
        return [*dumped, from_json(json)]

    @cached_property
    def written_schema(self) -> dict[str, Any]:
        """The JSON schema of what `json_values` returns first: for a class, with the names that it is written with."""
        if self._adapter is None:
            return self.schema
        try:
            return self._adapter.json_schema(mode="serialization")
        except Exception:  # A serializer may have no schema.
            return self.schema

    def _read(self, text: str) -> tuple[Any, str | bytes]:
        """Return the value that the text means, and the JSON of that value."""
        try:
            return self._parsed(text)
        except (InvalidValueError, UncheckedValueError):
            raise
        except BaseException as error:  # A validator may raise anything. SystemExit would end the event loop.
            raise UncheckedValueError(f"a validator of {self.name} raised {error_name_and_text(error)}") from error

    def _parsed(self, text: str) -> tuple[Any, str | bytes]:
        problems: list[str] = []
        try:
            return self._validate(text), text  # Most answers are nothing but JSON.
        except (ValidationError, InvalidValueError) as error:
            if not _is_no_json(error):
                problems.append(_problems(error))
        # If the whole text is JSON, its value comes first, and was just validated.
        values = [*json_values(text)][len(problems) :]
        for value in (*values, *([text.strip()] if self._may_be_text else [])):
            try:
                json = to_json(value)
            except ValueError:  # JSON cannot represent the value.
                continue
            try:
                return self._validate(json), json
            except (ValidationError, InvalidValueError) as error:
                problems.append(_problems(error))
        raise InvalidValueError(problems[0] if problems else "it is not complete JSON")


class _SchemaValidator:
    """Validates JSON against a JSON schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = to_json(schema).decode()

    def __call__(self, text: bytes | str) -> Any:
        value: Any = _any_json.validate_json(text)
        try:
            found = violation(self._schema, value)
        except UncheckableError as error:
            # The schema itself is sound: it was looked at before.
            if not isinstance(error.__cause__, RecursionError):
                raise UncheckedValueError(error.reason) from error
            raise InvalidValueError("it is nested too deep") from None
        if found is not None:
            path, problem = found
            raise InvalidValueError(problem if path == "$" else f"{path.removeprefix('$.')}: {problem}")
        return value


_any_json = TypeAdapter[Any](Any)


def _is_no_json(error: ValidationError | InvalidValueError) -> bool:
    return isinstance(error, ValidationError) and error.errors(include_input=False)[0]["type"] == "json_invalid"


def _problems(error: ValidationError | InvalidValueError) -> str:
    """Return what is wrong with which field, in one line."""
    if isinstance(error, InvalidValueError):
        return str(error)
    details = error.errors(include_url=False, include_context=False)
    shown = list(dict.fromkeys(map(_problem, details)))
    more = [f"and {len(shown) - _MOST_PROBLEMS} more"] if len(shown) > _MOST_PROBLEMS else []
    return "; ".join([*shown[:_MOST_PROBLEMS], *more])


def _problem(detail: ErrorDetails) -> str:
    place = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"{place}: is missing"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    found = f" (found {short_repr(detail['input'])})" if detail["type"] != "extra_forbidden" else ""
    text = f"{message[:1].lower()}{message[1:]}{found}"
    return f"{place}: {text}" if place else text
