"""The messages about rows that pydantic cannot validate."""

from __future__ import annotations

from pydantic import ValidationError


def validation_message(error: ValidationError, *above: str) -> str:
    """Return the first three problems of a validation error, in one line.

    Args:
        above: The keys that lead to the validated value.
    """
    shown: list[str] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        # Members of a union appear in the location as type names; a path of keys reads better.
        place = (*above, *detail["loc"])
        path = ".".join(str(part) for part in place if str(part).isidentifier() or isinstance(part, int))
        message = detail["msg"].removeprefix("Value error, ")
        shown.append(f"{path}: {message}" if path else message)
    return "; ".join(shown)
