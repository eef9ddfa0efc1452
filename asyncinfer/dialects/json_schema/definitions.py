"""Definitions that a transformation adds to a schema, so that large parts are written once."""

from __future__ import annotations

from itertools import count

from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.json_schema.growth import Growth, text_of
from asyncinfer.dialects.json_schema.walk import Schema

# In characters of JSON text. A smaller part is copied to each place where it is used.
_LARGEST_COPY = 800


class NewDefinitions:
    """Writes each distinct part of a schema once, and refers to it if it is large or contains itself.

    Args:
        root: The schema that gets the definitions.
    """

    def __init__(self, root: Schema, growth: Growth) -> None:
        self._growth = growth
        self._taken: frozenset[str] = frozenset(as_object(root.get("$defs")))
        self._numbers = count(1)
        self._made: dict[str, Schema] = {}
        self._names: dict[str, str] = {}
        self._schemas: dict[str, Schema] = {}

    def known(self, key: str) -> Schema | None:
        """Return the part with this key, a copy or a reference; None if it was not begun."""
        if (made := self._made.get(key)) is not None:
            self._growth.add_copy(made)
            return made
        return {"$ref": f"#/$defs/{self._name(key)}"} if key in self._names else None

    def begin(self, key: str) -> None:
        """Reserve a place for a part. If the part contains itself, it refers to this place."""
        self._names[key] = ""

    def finish(self, key: str, schema: Schema) -> Schema:
        """Return the part, or a reference to it."""
        size = len(text_of(schema))
        self._growth.add(size)
        if size > _LARGEST_COPY or self._names[key]:
            name = self._name(key)
            self._schemas[name] = schema
            schema = {"$ref": f"#/$defs/{name}"}
        self._made[key] = schema
        return schema

    def added_to(self, schema: Schema) -> Schema:
        """Return `schema` with the definitions."""
        if not self._schemas:
            return schema
        return {**schema, "$defs": {**as_object(schema.get("$defs")), **self._schemas}}

    def _name(self, key: str) -> str:
        if not self._names[key]:
            name = next(name for number in self._numbers if (name := f"shared_{number}") not in self._taken)
            self._names[key] = name
        return self._names[key]
