"""Say what is wrong with a configuration: where, what was found, what was probably meant."""

from __future__ import annotations

import typing
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, root: type[BaseModel], where: str) -> str:
    """One line for each problem: `file: dotted.path: what is wrong`. Values of secrets are never shown."""
    return "\n".join(_line(detail, root, where) for detail in error.errors(include_url=False))


def _line(detail: Any, root: type[BaseModel], where: str) -> str:
    location = [part for part in detail["loc"] if not _is_union_member(str(part))]
    path = ".".join(map(str, location))
    if detail["type"] == "extra_forbidden":
        return f"{where}: {path}: unknown key{_meant(location, root)}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = detail["input"]
    shown = "" if "key" in path.rpartition(".")[2] or isinstance(found, dict | BaseModel) else f" (found {found!r})"
    return f"{where}: {path}: {message}{shown}" if path else f"{where}: {message}"


def _is_union_member(part: str) -> bool:
    """Whether pydantic put a type's name into the location, to tell the branches of a union apart."""
    return part in {"str", "int", "float", "bool", "none"} or "[" in part


def _meant(location: list[Any], root: type[BaseModel]) -> str:
    known = known_keys(root, [str(part) for part in location[:-1]])
    close = get_close_matches(str(location[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known keys here: {', '.join(sorted(known))}" if known else ""


def known_keys(root: type[BaseModel], path: list[str]) -> list[str]:
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
