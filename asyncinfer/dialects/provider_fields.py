"""What a response says besides its answer: citations, safety ratings, what content filters found, and the like.

They are kept in `metadata["provider_fields"]` under the API's own names, because no other field holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.dialects.fields import checked_depth
from asyncinfer.types.answer import PROVIDER_FIELDS

Json = Mapping[str, Any]


class ProviderFields:
    """Collects the fields of one response, or of the events of a stream."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def add(self, data: Json, names: frozenset[str], *, joins_lists: bool = False) -> None:
        """Add those of the fields that are neither null nor empty.

        Args:
            joins_lists: A list is the next part of the list before it. Otherwise, the last value of a field counts.
        """
        if names.isdisjoint(data):
            return
        for name in names & data.keys():
            value: Any = data[name]
            if value in (None, [], {}, "") or not _can_be_saved(value):
                continue
            before = self._found.get(name)
            if joins_lists and isinstance(value, list) and isinstance(before, list):
                value = [*cast(list[Any], before), *cast(list[Any], value)]
            self._found[name] = value

    def metadata(self) -> dict[str, Any]:
        """Return the metadata with these fields; an empty dict if there are none."""
        return {PROVIDER_FIELDS: self._found} if self._found else {}


def provider_fields(*levels: tuple[Json, frozenset[str]]) -> dict[str, Any]:
    """Return the metadata with the fields of one response; an empty dict if there are none.

    Args:
        levels: The objects of the response, each with the names of the fields that are kept.
    """
    if all(names.isdisjoint(data) for data, names in levels):
        return {}
    fields = ProviderFields()
    for data, names in levels:
        fields.add(data, names)
    return fields.metadata()


def _can_be_saved(value: Any) -> bool:
    try:
        checked_depth(value)
    except ValueError:
        return False
    return True
