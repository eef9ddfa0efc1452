"""The messages about mistakes in a configuration: where, what is wrong, and a likely correction."""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from asyncinfer.types.masking import is_secret_name, mask_url

Location = tuple[int | str, ...]

_SHOWN = 60
# The key whose values are secret whatever the names below it are.
HEADERS = "headers"


def problems_in(error: ValidationError, root: type[BaseModel], written: Any = None) -> dict[Location, str]:
    """What is wrong at each location, as `dotted.path: what`. Secrets are never quoted.

    Args:
        written: The data before environment variables were filled in. Messages quote it, because the value of a
            variable may be a secret. None: messages quote the validated data.
    """
    details: dict[Location, list[Any]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_place(detail["loc"]), []).append(detail)
    return {place: f"{_prefix(place)}{_description(place, found, root, written)}" for place, found in details.items()}


def _place(location: Location) -> Location:
    return tuple(part for part in location if not _is_union_member(str(part)))


def _is_union_member(part: str) -> bool:
    """Whether this part of a location is not a key, but the name of a type, which pydantic adds for unions."""
    return part in {"str", "int", "float", "bool", "none"} or "[" in part


def _prefix(place: Location) -> str:
    return f"{dotted(place)}: " if place else ""


def dotted(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))


def _description(place: Location, details: list[Any], root: type[BaseModel], written: Any) -> str:
    """What is wrong at one place. `details` has one entry for each type that the field accepts."""
    if details[0]["type"] == "extra_forbidden":
        return f"unknown key{_suggestion(place, root)}"
    messages = dict.fromkeys(_message(detail) for detail in details)
    found = details[0]["input"] if written is None else value_at(written, place)
    return " or ".join(messages) + _quotation(place, found, is_group=details[0]["type"] == "model_type")


def _message(detail: Any) -> str:
    if detail["type"] == "model_type":
        return "should be a mapping of settings"
    message: str = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _quotation(place: Location, value: Any, *, is_group: bool) -> str:
    """The value in parentheses; only its type if it is a list or should be a group; nothing if it is secret."""
    if is_secret(place):
        return ""
    kind = type(value).__name__
    if is_group or isinstance(value, list):
        return f" (found a {kind})"
    if isinstance(value, str) and "://" in value:
        value = mask_url(value)
    return f" (found {_brief.repr(value)})" if isinstance(value, str | int | float | None) else ""


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _SHOWN


def is_secret(place: Sequence[int | str]) -> bool:
    """Whether the value at this place must never be quoted. All values of headers are secret."""
    return any(part == HEADERS or is_secret_name(part) for part in place if isinstance(part, str))


def value_at(data: Any, place: Location) -> Any:
    """The value at a location in nested data; None if there is no such location."""
    for part in place:
        if isinstance(data, dict):
            items = cast(dict[Any, Any], data).items()
            data = next((value for key, value in items if str(key) == str(part)), None)
        elif isinstance(data, list) and isinstance(part, int) and part < len(cast(list[Any], data)):
            data = cast(list[Any], data)[part]
        else:
            return None
    return data


def _suggestion(place: Location, root: type[BaseModel]) -> str:
    *above, key = map(str, place)
    known = _known_keys(root, above)
    for group in root.model_fields:
        if key in _known_keys(root, [group]):
            return f"; it belongs under {group!r}"
    return nearest_name(key, known) or f"; known keys here: {', '.join(sorted(known))}"


def nearest_name(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: it suggests a similar known name. Empty if there is none."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_keys(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the model at `path` below `root` has."""
    model: type[BaseModel] | None = root
    for part in path:
        if part.isdecimal():  # The place in a list.
            continue
        field = model.model_fields.get(part) if model is not None else None
        model = _model_in(field.annotation) if field is not None else None
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
