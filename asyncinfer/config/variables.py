r"""Environment variables in settings: `${VAR}`, `${VAR:-default}`, `${oc.env:VAR}`, `${oc.env:VAR,default}`.

A `${name}` within a longer text may belong to the text, such as a prompt or a template. It stays as it is if there is
no variable of this name. `\${` stands for `${`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.config.problems import Location, dotted, is_secret

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(
    rf"(?<!\\)\$\{{(?:oc\.env:(?P<explicit>{_NAME})(?:,(?P<after>[^}}]*))?|(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?)\}}"
)
# Settings that name something. An unknown variable in them is always a mistake.
_NAMING = frozenset({"adapter_model", "engine", "model_name", "tokenizer_name"})


def fill_in(data: Any, environ: Mapping[str, str] | None = None) -> tuple[Any, dict[Location, str]]:
    """`data` with its variables replaced, and a message for each variable that is missing.

    The value of a variable is always text. It is not parsed as YAML.

    Args:
        environ: The environment variables; those of this process by default.
    """
    values = os.environ if environ is None else environ
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
            name = match["explicit"] or match["name"]
            default = match["after"] if match["explicit"] else match["default"]
            value = values.get(name)
            if value is not None or default is not None:
                return value or default or ""
            if match["explicit"] or match[0] == text.strip() or _is_naming(place):
                unset[place] = f"{dotted(place)}: the environment variable {name} is not set"
            return match[0]

        return _VARIABLE.sub(value_of, text).replace(r"\${", "${")

    return fill(data, ()), unset


def _is_naming(place: Location) -> bool:
    """Whether a setting names an endpoint, a file or a model, or is a secret."""
    keys = [str(key) for key in place]
    last = keys[-1] if keys else ""
    return "remote_params" in keys[:1] or last.endswith("_path") or last in _NAMING or is_secret(keys)


def escaped(data: Any) -> Any:
    """`data` with each `${` escaped, so that `fill_in` returns the original."""
    if isinstance(data, dict):
        return {key: escaped(value) for key, value in cast(dict[Any, Any], data).items()}
    if isinstance(data, list):
        return [escaped(value) for value in cast(list[Any], data)]
    return data.replace("${", r"\${") if isinstance(data, str) else data
