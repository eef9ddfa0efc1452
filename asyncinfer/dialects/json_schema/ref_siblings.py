"""Removes the keywords next to references, for APIs that do not accept them there."""

from __future__ import annotations

from collections.abc import Callable

from asyncinfer.dialects.json_schema.definitions import NewDefinitions
from asyncinfer.dialects.json_schema.growth import Growth, text_of
from asyncinfer.dialects.json_schema.refs import with_target
from asyncinfer.dialects.json_schema.walk import Schema, map_subschemas


def without_ref_siblings(
    schema: Schema, is_accepted: Callable[[Schema], bool], finish: Callable[[Schema], Schema]
) -> Schema:
    """Return a copy of `schema` in which the target of a reference is merged with the keywords next to it.

    A large merged target becomes a definition of its own. The keywords are left out if the target contains the same
    reference.

    Args:
        is_accepted: Whether the API accepts a schema that has a reference.
        finish: Changes each schema of the result.

    Raises:
        SchemaTooLargeError: The merged targets are too large.
    """
    return _RefSiblings(schema, is_accepted, finish).result()


class _RefSiblings:
    def __init__(self, root: Schema, is_accepted: Callable[[Schema], bool], finish: Callable[[Schema], Schema]) -> None:
        self._root, self._is_accepted, self._finish = root, is_accepted, finish
        self._growth = Growth()
        self._new = NewDefinitions(root, self._growth)

    def result(self) -> Schema:
        return self._new.added_to(self._changed(self._root, frozenset(), at_top=True))

    def _changed(self, schema: Schema, within: frozenset[str], *, at_top: bool = False) -> Schema:
        ref = schema.get("$ref")
        if isinstance(ref, str) and not self._is_accepted(schema):
            if ref in within:
                return {"$ref": ref}
            if (merged := with_target(schema, self._root, self._growth)) is not None:
                inner = within | {ref}
                return self._changed(merged, inner, at_top=True) if at_top else self._shared(schema, merged, inner)
        return self._finish(map_subschemas(schema, lambda one: self._changed(one, within)))

    def _shared(self, schema: Schema, merged: Schema, within: frozenset[str]) -> Schema:
        key = text_of(schema)
        if (known := self._new.known(key)) is not None:
            return known
        made = self._changed(merged, within)
        self._new.begin(key)
        return self._new.finish(key, made)
