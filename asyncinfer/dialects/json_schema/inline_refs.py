"""Makes JSON schemas without references, for APIs that do not support references."""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.conjunction import both
from asyncinfer.dialects.json_schema.growth import Growth, SchemaTooLargeError, remembered
from asyncinfer.dialects.json_schema.refs import resolve_ref
from asyncinfer.dialects.json_schema.walk import DEFINITIONS, mentions

_REF = frozenset({"$ref", *DEFINITIONS})


class _ContainsItselfError(Exception):
    """A schema contains itself."""


def inline_refs(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a copy of `schema` with each reference replaced by its target. Keywords next to a reference are kept.

    The result may be `schema` itself. It is None if a schema contains itself, because it cannot be written without
    references.

    Raises:
        SchemaTooLargeError: The schema is too large without references.
    """
    return _without_refs(schema) if mentions(schema, _REF) else schema


def can_inline(schema: dict[str, Any]) -> bool:
    """Whether `inline_refs` can write a schema without references."""
    try:
        return inline_refs(schema) is not None
    except SchemaTooLargeError:
        return False


@remembered
def _without_refs(schema: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return _Inlining(schema).inlined(schema, frozenset({"#"}))  # A reference to the root contains itself.
    except _ContainsItselfError:
        return None


class _Inlining:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root, self._growth = root, Growth()
        self._targets: dict[str, dict[str, Any]] = {}

    def inlined(self, value: Any, within: frozenset[str]) -> Any:
        if isinstance(value, list):
            return [self.inlined(one, within) for one in cast(list[Any], value)]
        if not isinstance(value, dict):
            return value
        fields = cast(dict[str, Any], value)
        ref = fields.get("$ref")
        if isinstance(ref, str) and (target := self._target(ref, within)) is not None:
            return self._joined(fields, target, within)
        return {key: self.inlined(one, within) for key, one in self._kept(fields).items()}

    def _kept(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords but the definitions, because each reference is replaced by its definition."""
        if fields is not self._root:
            return fields
        return {key: one for key, one in fields.items() if key not in DEFINITIONS}

    def _joined(self, fields: dict[str, Any], target: dict[str, Any], within: frozenset[str]) -> dict[str, Any]:
        beside = {key: one for key, one in self._kept(fields).items() if key != "$ref"}
        return both(self.inlined(beside, within), target, self._growth) if beside else target

    def _target(self, ref: str, within: frozenset[str]) -> dict[str, Any] | None:
        """Return the target of a reference, without references in it. It is made once, and counts for each use."""
        if ref in within:
            raise _ContainsItselfError
        if ref not in self._targets:
            if (target := resolve_ref(self._root, ref)) is None:
                return None
            self._targets[ref] = self.inlined(target, within | {ref})
        self._growth.add_copy(self._targets[ref])
        return self._targets[ref]
