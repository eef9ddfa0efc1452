"""Limits how much larger a schema may become by a transformation, and remembers the results of recent ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.lru_cache import LRUCache

T = TypeVar("T")

# In characters of JSON text. No API accepts a schema of this size.
_MOST_ADDED = 600_000
_LONGEST_REMEMBERED = 200_000
_MOST_REMEMBERED = 32


class SchemaTooLargeError(ValueError):
    """A schema cannot be written in the keywords of an API: it would become too large, or is nested too deeply."""


class Growth:
    """Counts what a transformation adds to a schema by copies of its parts."""

    def __init__(self) -> None:
        self._left = _MOST_ADDED

    def add(self, characters: int) -> None:
        """Count the characters of a copy.

        Raises:
            SchemaTooLargeError: The copies together are too large.
        """
        self._left -= characters
        if self._left < 0:
            raise SchemaTooLargeError(
                f"the schema grows by more than {_MOST_ADDED:,} characters when it is written in the keywords that the "
                "API accepts: use fewer combinations of allOf, anyOf and oneOf, and fewer references"
            )

    def add_copy(self, value: Any) -> None:
        """Count a copy of a part of a schema."""
        self.add(len(text_of(value)))


def text_of(value: Any) -> str:
    """Return a part of a schema as JSON text. Values that JSON does not have are written as Python writes them."""
    return json.dumps(value, default=repr)


def remembered(change: Callable[[dict[str, Any]], T]) -> Callable[[dict[str, Any]], T]:
    """Keep the results of a transformation, and its refusals, for the schemas that it was called with last.

    The result must not be changed. A schema that is nested too deeply raises a `SchemaTooLargeError`.
    """
    known = LRUCache[str, T | SchemaTooLargeError](_MOST_REMEMBERED)

    @wraps(change)
    def changed(schema: dict[str, Any]) -> T:
        text = _shallow(text_of, schema)
        is_kept = len(text) <= _LONGEST_REMEMBERED
        result = known.get(text, lambda: _result_or_refusal(change, schema), keep=is_kept)
        if isinstance(result, SchemaTooLargeError):
            raise SchemaTooLargeError(str(result))
        return result

    return changed


def _result_or_refusal(change: Callable[[dict[str, Any]], T], schema: dict[str, Any]) -> T | SchemaTooLargeError:
    try:
        return _shallow(change, schema)
    except SchemaTooLargeError as error:
        return error


def _shallow(change: Callable[[dict[str, Any]], T], schema: dict[str, Any]) -> T:
    try:
        return change(schema)
    except RecursionError:
        raise nested_too_deeply() from None


def nested_too_deeply() -> SchemaTooLargeError:
    """Return the error for a schema with too many levels."""
    return SchemaTooLargeError("the schema is nested too deeply")


@contextmanager
def schema_of_setting() -> Generator[None]:
    """Turn a `SchemaTooLargeError` into the error for the schema of the answer."""
    try:
        yield
    except SchemaTooLargeError as error:
        raise ConfigError(f"generation.guided_decoding.json: {error}") from None


@contextmanager
def schema_of_tool(name: str) -> Generator[None]:
    """Turn a `SchemaTooLargeError` into the error for a row with this tool."""
    try:
        yield
    except SchemaTooLargeError as error:
        raise invalid_request(f"the parameters of tool {name!r}: {error}") from None
