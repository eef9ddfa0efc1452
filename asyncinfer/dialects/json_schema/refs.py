"""References within JSON schemas."""

from __future__ import annotations

from typing import Any, cast


def referred(root: dict[str, Any], ref: str) -> dict[str, Any] | None:
    """What `#/$defs/Name` refers to in `root`; None where that is no schema within it."""
    if not ref.startswith("#/"):
        return None
    value: Any = root
    for part in ref.removeprefix("#/").split("/"):
        value = cast(dict[str, Any], value).get(part) if isinstance(value, dict) else None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None
