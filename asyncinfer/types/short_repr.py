"""Reprs that show only what is set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar

from pydantic import BaseModel


def set_fields(model: BaseModel, args: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str | None, Any]]:
    """Yield the arguments of the repr of `model` whose values are not the defaults of their fields."""
    known = type(model).model_fields
    for name, value in args:
        field = known.get(name) if name is not None else None
        if field is None or field.is_required() or value != field.get_default(call_default_factory=True):
            yield name, value


class ShortRepr:
    """A base class of dataclasses, which must have `repr=False`. The repr leaves out fields with default values."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __repr__(self) -> str:
        shown = ((field, getattr(self, field.name)) for field in fields(self) if field.repr)
        parts = [f"{field.name}={value!r}" for field, value in shown if value != _default(field)]
        return f"{type(self).__qualname__}({', '.join(parts)})"


def _default(field: Field[Any]) -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default
