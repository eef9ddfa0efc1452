"""What all parameter classes share."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
from asyncinfer.errors import ConfigError
from asyncinfer.types.masking import mask_options

P = TypeVar("P", bound="Params")


def _no_bool(value: Any) -> Any:
    # To pydantic true is 1, which would hide an option whose value was forgotten.
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _path_text(value: Any) -> Any:
    return os.fspath(cast(os.PathLike[str], value)) if isinstance(value, os.PathLike) else value


_Number = BeforeValidator(_no_bool)
Integer = Annotated[int, _Number]
Natural = Annotated[int, Field(ge=0), _Number]
Count = Annotated[int, Field(ge=1), _Number]
Real = Annotated[float, Field(allow_inf_nan=False), _Number]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _Number]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _Number]
Fraction = Annotated[float, Field(ge=0, le=1), _Number]
PathText = Annotated[str, BeforeValidator(_path_text)]


class Params(BaseModel):
    """A group of settings. An unknown key is an error; so is a value out of range, also when it is assigned.

    Raises:
        ConfigError: from the constructor: all that is wrong, a line each.
        ValidationError: pydantic's, from an assignment. It shows no values, which may be secret.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        protected_namespaces=(),
        populate_by_name=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # `model_revision: 1234567` is a number to YAML only
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, mask_options(value)) for name, value in super().__repr_args__())

    @model_serializer(mode="wrap", when_used="json")
    def _without_secrets(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return mask_options(fields(self))

    if not TYPE_CHECKING:  # type checkers see the constructor that pydantic makes of the fields

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
                return
            except ValidationError as error:
                found = problems_in(error, type(self))
            # `data` may hold keys. A traceback shows the locals of this frame, and an error that is raised inside the
            # `except` block would also show pydantic's frames.
            data.clear()
            raise ConfigError("\n".join(f"{type(self).__name__}: {line}" for line in found.values()))

        # As on BaseModel's own: a group within a group is then validated in place, and all problems are told at once.
        __init__.__pydantic_base_init__ = True


def merged(base: P, call: P) -> P:
    """`base`, with the fields that were set explicitly in `call` in place of its own; `base` itself if none was."""
    explicit = {name: getattr(call, name) for name in call.model_fields_set}
    return base.model_copy(update=explicit) if explicit else base
