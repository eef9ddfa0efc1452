"""Writes combinations of JSON schemas with `anyOf` alone, for APIs without `oneOf`, `discriminator` and `allOf`.

Each answer that the schema accepts is accepted by the result too.
"""

from __future__ import annotations

from asyncinfer.dialects.json_schema.conjunction import both, with_any_of
from asyncinfer.dialects.json_schema.definitions import NewDefinitions
from asyncinfer.dialects.json_schema.growth import Growth, text_of
from asyncinfer.dialects.json_schema.refs import resolve_ref
from asyncinfer.dialects.json_schema.walk import Schema, definitions_of, map_subschemas, mentions, schemas_in

_COMBINATIONS = frozenset({"allOf", "discriminator", "oneOf"})


def unions_as_any_of(schema: Schema) -> Schema:
    """Return `schema` with `anyOf` in place of `oneOf`, without `discriminator`, and with merged `allOf`.

    The result may be `schema` itself, or share parts with it.

    A member of `allOf` that contains itself stays in `allOf`.

    Raises:
        SchemaTooLargeError: The merged schemas are too large.
    """
    return _Unions(schema).result() if mentions(schema, _COMBINATIONS) else schema


class _Unions:
    """Rewrites one schema. Merged targets of references are written once if they are large."""

    def __init__(self, root: Schema) -> None:
        self._root, self._growth = root, Growth()
        self._new = NewDefinitions(root, self._growth)
        # These are written once already.
        self._single = {id(root), *map(id, definitions_of(root))}

    def result(self) -> Schema:
        return self._new.added_to(self._rewritten(self._root))

    def _rewritten(self, schema: Schema) -> Schema:
        if id(schema) in self._single or not _follows_refs(schema):
            return self._merged(schema)
        key = text_of(schema)
        if (known := self._new.known(key)) is not None:
            return known
        self._new.begin(key)
        return self._new.finish(key, self._merged(schema))

    def _merged(self, schema: Schema) -> Schema:
        fields = with_any_of(self._with_members(schema, frozenset(), set()), self._growth)
        fields = {key: value for key, value in fields.items() if key != "discriminator"}
        return map_subschemas(fields, self._rewritten)

    def _with_members(self, schema: Schema, within: frozenset[str], done: set[str]) -> Schema:
        """Return a schema merged with the members of its `allOf`. Members that contain themselves stay there.

        Args:
            within: The references whose targets contain `schema`.
            done: The references whose targets are merged already.
        """
        members = schemas_in(schema.get("allOf"))
        if not members:
            return schema
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        if not merged and len(members) == 1:
            return members[0]
        left: list[Schema] = []
        for member in members:
            target = self._target(member, done)
            if target is None or member.get("$ref") in within:
                left.append(member)
                continue
            merged = both(merged, self._member(member, target, within, done), self._growth)
        return {**merged, "allOf": left} if left else merged

    def _target(self, member: Schema, done: set[str]) -> Schema | None:
        """Return the target of the reference in a member; None if there is no such schema."""
        if "$ref" not in member:
            return {}
        ref = member["$ref"]
        if not isinstance(ref, str):
            return None
        return {} if ref in done else resolve_ref(self._root, ref)

    def _member(self, member: Schema, target: Schema, within: frozenset[str], done: set[str]) -> Schema:
        """Return a member, merged with the target of its reference and with its own members."""
        if (ref := member.get("$ref")) is not None:
            done.add(ref)
            within = within | {ref}
        self._growth.add_copy(target)
        others = {key: value for key, value in member.items() if key != "$ref"}
        return self._with_members(both(target, others, self._growth), within, done)


def _follows_refs(schema: Schema) -> bool:
    """Whether targets of references become a part of this schema."""
    members = schemas_in(schema.get("allOf"))
    return (len(schema) > 1 or len(members) > 1) and any("$ref" in member for member in members)
