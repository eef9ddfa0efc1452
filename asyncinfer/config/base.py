"""The base class of all parameter classes, and the types of their fields."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from asyncinfer.config.problems import problems_in
from asyncinfer.config.row_key import hashed_fields
from asyncinfer.errors import ConfigError
from asyncinfer.types.field_types import Accepts
from asyncinfer.types.masking import mask_options
from asyncinfer.types.short_repr import set_fields

P = TypeVar("P", bound="Params")


def _refuse_bool(value: Any) -> Any:
    # pydantic takes true for 1. That would hide an option whose value is missing on the command line.
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _path_text(value: Any) -> Any:
    return os.fspath(cast(os.PathLike[str], value)) if isinstance(value, os.PathLike) else value


def _empty_if_null(value: Any) -> Any:
    # A file may have `generation:` with every key below it commented out.
    return {} if value is None else value


Group = BeforeValidator(_empty_if_null)
_Number = BeforeValidator(_refuse_bool)
Integer = Annotated[int, _Number]
Natural = Annotated[int, Field(ge=0), _Number]
Count = Annotated[int, Field(ge=1), _Number]
Real = Annotated[float, Field(allow_inf_nan=False), _Number]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _Number]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _Number]
Fraction = Annotated[float, Field(ge=0, le=1), _Number]
PathText = Annotated[str, BeforeValidator(_path_text)]
if TYPE_CHECKING:
    RequiredPath = Accepts[str, str | os.PathLike[str]]
    OptionalPath = Accepts[str | None, str | os.PathLike[str] | None]
else:
    RequiredPath, OptionalPath = PathText, PathText | None


class Params(BaseModel):
    """A group of settings. Unknown keys and values out of range are errors, also in assignments.

    Positional arguments are allowed, in the order of the fields. The fields of Oumi come first, in its order. Type
    checkers accept those that are declared with `kw_only=False`.

    Raises:
        ConfigError: The constructor found mistakes. The message has one line for each.
        ValidationError: An assigned value is wrong. The message shows no values, because they may be secret.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        protected_namespaces=(),
        populate_by_name=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # In YAML, `model_revision: 1234567` is a number.
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, mask_options(value)) for name, value in set_fields(self, super().__repr_args__()))

    @model_serializer(mode="wrap", when_used="json")
    def _without_secrets(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return mask_options(fields(self))

    def hashed_values(self) -> dict[str, Any]:
        """The values that are part of a row's key, by field.

        Fields with their default value are left out, so that a new field does not change existing keys.
        """
        values: dict[str, Any] = {}
        for name in hashed_fields(type(self)):
            value = getattr(self, name)
            if value != type(self).model_fields[name].get_default(call_default_factory=True):
                values[name] = value.hashed_values() if isinstance(value, Params) else value
        return values

    def finalize_and_validate(self) -> None:
        """Check the settings of this group, and of the groups in it, as a whole. Some complete each other.

        Raises:
            ConfigError: A setting is wrong.
        """
        for _, value in self:
            if isinstance(value, Params):
                value.finalize_and_validate()

    if not TYPE_CHECKING:  # Type checkers see the constructor that pydantic derives from the fields.

        def __init__(self, /, *values: Any, **data: Any) -> None:
            data.update(_by_position(type(self), values, data))
            del values
            try:
                super().__init__(**data)
                return
            except ValidationError as error:
                found = problems_in(error, type(self))
            # `data` may contain secrets. A traceback shows the local variables of this frame. An error raised inside
            # the `except` block would also show pydantic's frames.
            data.clear()
            raise ConfigError("\n".join(f"{type(self).__name__}: {line}" for line in found.values()))

        # pydantic marks BaseModel's constructor the same way. Nested groups are then validated together with the outer
        # one, so that all mistakes are reported at once.
        __init__.__pydantic_base_init__ = True


def _by_position(params: type[Params], values: Sequence[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that positional arguments give. They follow the order of the fields, as in a dataclass.

    Raises:
        TypeError: There are more values than fields, or a field is given twice.
    """
    names = list(params.model_fields)[: len(values)]
    if len(values) > len(names):
        raise TypeError(f"{params.__name__} has {len(names)} fields, and was given {len(values)} values")
    if repeated := data.keys() & set(names):
        raise TypeError(f"{params.__name__}: {', '.join(sorted(repeated))} was given by position and by name")
    return dict(zip(names, values, strict=True))


def merged(base: P, call: P) -> P:
    """A copy of `base` with the fields that are set explicitly in `call`; `base` itself if no field is set."""
    explicit = {name: getattr(call, name) for name in call.model_fields_set}
    return base.model_copy(update=explicit) if explicit else base
