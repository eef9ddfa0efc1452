"""Merges objects with the members of their unions, for APIs in which every object must forbid further properties.

An object that forbids further properties would refuse those of the members of its `anyOf`.
"""

from __future__ import annotations

from asyncinfer.dialects.json_schema.conjunction import both
from asyncinfer.dialects.json_schema.growth import Growth, nested_too_deeply
from asyncinfer.dialects.json_schema.refs import without_top_ref
from asyncinfer.dialects.json_schema.walk import Schema, describes_object, map_subschemas, schemas_in

_OF_OBJECTS = frozenset(
    {
        *("additionalProperties", "dependentRequired", "dependentSchemas", "maxProperties", "minProperties"),
        *("patternProperties", "properties", "propertyNames", "required", "type", "unevaluatedProperties"),
    }
)
# A reference that leads back to itself has endless levels. No API accepts a schema of this many.
_MOST_LEVELS = 150
_ADD_PROPERTIES = frozenset({"$ref", "additionalProperties", "anyOf", "patternProperties", "properties"})


def parents_in_members(schema: Schema) -> Schema:
    """Return a copy of `schema` in which an object with an `anyOf` of further objects is a part of each member.

    Raises:
        SchemaTooLargeError: The members are too large.
    """
    return _Parents(schema).changed(schema)


class _Parents:
    def __init__(self, root: Schema) -> None:
        self._root, self._growth = root, Growth()
        self._level = 0

    def changed(self, schema: Schema) -> Schema:
        if self._level == _MOST_LEVELS:
            raise nested_too_deeply()
        self._level += 1
        try:
            return self._changed(schema)
        finally:
            self._level -= 1

    def _changed(self, schema: Schema) -> Schema:
        members = schemas_in(schema.get("anyOf"))
        if describes_object(schema) and any(map(_adds_properties, members)):
            parent = {key: value for key, value in schema.items() if key in _OF_OBJECTS}
            rest = {key: value for key, value in schema.items() if key not in _OF_OBJECTS}
            schema = {**rest, "anyOf": [self._member(parent, member) for member in members]}
        return map_subschemas(schema, self.changed)

    def _member(self, parent: Schema, member: Schema) -> Schema:
        member = without_top_ref(member, self._root, self._growth)
        self._growth.add_copy(parent)
        return both(parent, member, self._growth)


def _adds_properties(member: Schema) -> bool:
    return describes_object(member) or not _ADD_PROPERTIES.isdisjoint(member)
