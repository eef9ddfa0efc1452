"""Say what is wrong with a configuration: where, what was found, what is allowed, what was probably meant."""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from asyncinfer.types.masking import is_secret_name

Location = tuple[int | str, ...]

_SHOWN = 60


def problems_in(error: ValidationError, root: type[BaseModel], asked: Any = None) -> dict[Location, str]:
    """What is wrong at each location, as `dotted.path: what`.

    `asked` is the data as it was written, before variables were filled in: it is what is quoted, since
    what a variable holds may be a secret. Secrets themselves are never quoted.
    """
    details: dict[Location, list[Any]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_place(detail["loc"]), []).append(detail)
    return {place: f"{_prefix(place)}{_said(place, found, root, asked)}" for place, found in details.items()}


def _place(location: Location) -> Location:
    return tuple(part for part in location if not _is_union_member(str(part)))


def _is_union_member(part: str) -> bool:
    """Whether pydantic put a type's name into the location, to tell the branches of a union apart."""
    return part in {"str", "int", "float", "bool", "none"} or "[" in part


def _prefix(place: Location) -> str:
    return f"{dotted(place)}: " if place else ""


def dotted(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))


def _said(place: Location, details: list[Any], root: type[BaseModel], asked: Any) -> str:
    """One sentence for one place; the branches of a union are alternatives."""
    if details[0]["type"] == "extra_forbidden":
        return f"unknown key{_meant(place, root)}"
    messages = dict.fromkeys(_message(detail) for detail in details)
    found = details[0]["input"] if asked is None else at(asked, place)
    return " or ".join(messages) + _found(place, found, is_group=details[0]["type"] == "model_type")


def _message(detail: Any) -> str:
    if detail["type"] == "model_type":
        return "should hold settings of its own, a key each"
    message: str = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _found(place: Location, value: Any, *, is_group: bool) -> str:
    """What stands there, if it is short and no secret; of what should have been a group, only the kind."""
    kind = type(value).__name__
    if is_secret(place):
        return ""
    if is_group or isinstance(value, list):
        return f" (found a {kind})"
    return f" (found {_brief.repr(value)})" if isinstance(value, str | int | float | None) else ""


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _SHOWN


def is_secret(place: Sequence[int | str]) -> bool:
    """Whether what is there must never be quoted."""
    return any(is_secret_name(part) for part in place if isinstance(part, str))


def at(data: Any, place: Location) -> Any:
    """What nested data holds at a location; None where it ends before."""
    for part in place:
        if isinstance(data, dict):
            items = cast(dict[Any, Any], data).items()
            data = next((value for key, value in items if str(key) == str(part)), None)
        elif isinstance(data, list) and isinstance(part, int):
            data = cast(list[Any], data)[part]
        else:
            return None
    return data


def _meant(place: Location, root: type[BaseModel]) -> str:
    *above, key = map(str, place)
    known = _known_keys(root, above)
    if close := get_close_matches(key, known, n=1):
        return f"; did you mean {close[0]!r}?"
    for group in root.model_fields:
        if key in _known_keys(root, [group]):
            return f"; it belongs under {group!r}"
    return f"; known keys here: {', '.join(sorted(known))}"


def _known_keys(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that the model at `path` below `root` has."""
    model: type[BaseModel] | None = root
    for part in path:
        field = model.model_fields.get(part) if model is not None else None
        model = _model_in(field.annotation) if field is not None else None
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
