"""Each field of a parameter class declares whether it is part of a row's key.

    class ModelParams(Params):
        model_name: Hashed[str] = ""
        compile: Unhashed[bool] = False

A row whose key is unchanged keeps its saved answer. So a field is `Hashed` if another value may give another answer.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import cache
from typing import Annotated, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class KeyRole(Enum):
    """Whether a field is part of a row's key."""

    HASHED = auto()
    UNHASHED = auto()


Hashed = Annotated[T, KeyRole.HASHED]
Unhashed = Annotated[T, KeyRole.UNHASHED]


def key_role(params: type[BaseModel], name: str) -> KeyRole:
    """What a field declares.

    Raises:
        TypeError: It declares nothing, or both.
    """
    roles = [mark for mark in params.model_fields[name].metadata if isinstance(mark, KeyRole)]
    if len(roles) != 1:
        raise TypeError(f"{params.__name__}.{name} should be declared either as Hashed[...] or as Unhashed[...]")
    return roles[0]


@cache
def hashed_fields(params: type[BaseModel]) -> tuple[str, ...]:
    """The names of the fields that are part of a row's key, sorted.

    Raises:
        TypeError: A field does not declare whether it is.
    """
    return tuple(name for name in sorted(params.model_fields) if key_role(params, name) is KeyRole.HASHED)
