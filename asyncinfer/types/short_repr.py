"""Short reprs: only the fields that are set, and only the beginning of long values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from enum import Enum
from itertools import islice
from typing import Any, ClassVar, cast

from pydantic import BaseModel

from asyncinfer.types.data_urls import data_url
from asyncinfer.types.masking import mask_options
from asyncinfer.types.media_types import sniffed_type

# How much of a long value a repr shows: characters of a text, items of a list or a mapping, and levels of nested ones.
_CHARACTERS, _ITEMS, _LEVELS = 160, 6, 4


def set_fields(model: BaseModel, args: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str | None, Any]]:
    """Yield the arguments of the repr of `model` whose values are not the defaults of their fields."""
    known = type(model).model_fields
    for name, value in args:
        field = known.get(name) if name is not None else None
        if field is None or field.is_required() or value != field.get_default(call_default_factory=True):
            yield name, value


def short_fields(model: BaseModel, args: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str | None, Any]]:
    """Yield what `set_fields` yields, with short reprs, and without secrets in mappings and unknown keys."""
    known = type(model).model_fields
    for name, value in set_fields(model, args):
        shown = clipped(value)
        if isinstance(value, dict) or name not in known:  # It may have secrets.
            shown = mask_options({name: shown})[name]
        yield name, Shown(_repr(shown))


class Shown(str):
    """Text that is its own repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ShortRepr:
    """A base class of dataclasses, which must have `repr=False`. The repr leaves out fields with default values, and
    shortens long values.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __repr__(self) -> str:
        shown = ((field, getattr(self, field.name)) for field in fields(self) if field.repr)
        parts = [f"{field.name}={short_repr(value)}" for field, value in shown if value != _default(field)]
        return f"{type(self).__qualname__}({', '.join(parts)})"


def short_repr(value: object) -> str:
    """Return the repr of a value. A long text has its length in characters, and bytes have their type and size."""
    return _repr(clipped(value))


def clipped(value: object, level: int = 0) -> object:
    """Return a list, a tuple or a mapping with its first items only, at any depth. Return other values unchanged."""
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value)
        if level >= _LEVELS and items:
            return Shown("{...}")
        first = {name: clipped(inner, level + 1) for name, inner in islice(items.items(), _ITEMS)}
        return first | ({Shown("..."): _rest(len(items))} if len(items) > _ITEMS else {})
    if type(value) in (list, tuple):
        values = cast(Sequence[object], value)
        if level >= _LEVELS and values:
            return Shown("[...]")
        first = [clipped(inner, level + 1) for inner in values[:_ITEMS]]
        first += [_rest(len(values))] if len(values) > _ITEMS else []
        return tuple(first) if isinstance(value, tuple) else first
    return value


def _repr(value: object) -> str:
    """Return the repr of a value whose collections are short."""
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes | bytearray):
        return data_label(bytes(value))
    if isinstance(value, dict):
        items = cast(dict[object, object], value).items()
        return f"{{{', '.join(f'{_repr(name)}: {_repr(inner)}' for name, inner in items)}}}"
    if type(value) in (list, tuple):
        inner = ", ".join(map(_repr, cast(Sequence[object], value)))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(cast(tuple[object, ...], value)) == 1 else f"({inner})"
    return repr(value)


def data_label(data: bytes) -> str:
    """Return a description of binary data: `<image/png, 12 kB>`."""
    return f"<{sniffed_type(data) or 'bytes'}, {_size(len(data))}>"


def _text(text: str) -> str:
    if isinstance(text, Shown):
        return text
    if (url := data_url(text)) is not None:
        size = len(url.data) * 3 // 4 if url.is_base64 else len(url.data)
        return f"<{url.media_type or 'text/plain'}, {_size(size)}>"
    if len(text) <= _CHARACTERS:
        return repr(text)
    return f"<{text[:_CHARACTERS]!r}..., {len(text):,} characters>"


def _rest(count: int) -> Shown:
    return Shown(f"<{count - _ITEMS:,} more>")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def _default(field: Field[Any]) -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default
