r"""Environment variables in settings: `${VAR}`, `${VAR:-default}`, `${oc.env:VAR,default}`. `\${` stands for `${`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.config.problems import Location, dotted

_VARIABLE = re.compile(r"(?<!\\)\$\{(?:oc\.env:)?([A-Za-z_][A-Za-z0-9_]*)(?:(?::-|,)([^}]*))?\}")


def fill_in(data: Any, environ: Mapping[str, str] | None = None) -> tuple[Any, dict[Location, str]]:
    """`data` with its variables replaced, and a message for each variable that is not set and has no default.

    The value of a variable is always text. It is not parsed as YAML.

    Args:
        environ: The environment variables; those of this process by default.
    """
    unset: dict[Location, str] = {}

    def fill(value: Any, place: Location) -> Any:
        if isinstance(value, dict):
            items = cast(dict[Any, Any], value).items()
            return {key: fill(inner, (*place, key)) for key, inner in items}
        if isinstance(value, list):
            return [fill(inner, (*place, i)) for i, inner in enumerate(cast(list[Any], value))]
        return fill_text(value, place) if isinstance(value, str) else value

    def fill_text(text: str, place: Location) -> str:
        def value_of(match: re.Match[str]) -> str:
            name, default = match.groups()
            value = (os.environ if environ is None else environ).get(name)
            if value is None and default is None:
                unset[place] = f"{dotted(place)}: the environment variable {name} is not set"
            return value or default or ""

        return _VARIABLE.sub(value_of, text).replace(r"\${", "${")

    return fill(data, ()), unset


def escaped(data: Any) -> Any:
    """`data` with each `${` escaped, so that `fill_in` returns the original."""
    if isinstance(data, dict):
        return {key: escaped(value) for key, value in cast(dict[Any, Any], data).items()}
    if isinstance(data, list):
        return [escaped(value) for value in cast(list[Any], data)]
    return data.replace("${", r"\${") if isinstance(data, str) else data
