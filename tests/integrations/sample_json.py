"""Makes the JSON that a model would write for a schema, from the words of the question."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def sample(schema: Schema, question: str, root: Schema | None = None) -> Any:
    """Return a value that is valid for a JSON schema.

    A text is the quoted part of the question if there is one, otherwise the whole question. A number is the first
    number in the question.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return sample(_target(schema["$ref"], root), question, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for combination in ("anyOf", "oneOf", "allOf"):
        if combination in schema:
            return sample(schema[combination][0], question, root)
    return _of_type(schema, question, root)


def _of_type(schema: Schema, question: str, root: Schema) -> Any:
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: sample(part, question, root) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}), question, root)]
        case "integer" | "number":
            numbers = re.findall(r"\d+", question)
            return int(numbers[0]) if numbers else 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            quoted = re.findall(r"'([^']+)'", question)
            return quoted[0] if quoted else question


def _target(reference: str, root: Schema) -> Schema:
    target: Any = root
    for name in reference.removeprefix("#/").split("/"):
        target = target[name]
    return target
