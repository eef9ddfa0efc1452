"""What all parameter classes share."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

P = TypeVar("P", bound="Params")


class Params(BaseModel):
    """A group of settings. An unknown key is an error; so is a value out of range, also when it is assigned."""

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        protected_namespaces=(),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


def merged(base: P, call: P) -> P:
    """`base`, with the fields that were set explicitly in `call` in place of its own."""
    explicit = {name: getattr(call, name) for name in call.model_fields_set}
    return base.model_copy(update=explicit) if explicit else base
