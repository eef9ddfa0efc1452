"""YAML text to plain data: read, parsed strictly, overridden by dotted paths, `${VAR}` filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import yaml

from asyncinfer.errors import ConfigError

_VARIABLE = re.compile(r"(?<!\\)\$\{(?:oc\.env:)?([A-Za-z_][A-Za-z0-9_]*)(?:(?::-|,)([^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of a float (`1e-3`), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key: Any = cast(Any, self).construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


cast(Any, _Loader).add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read(path: Path) -> str:
    """The file's text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {why}") from None


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that `text` holds; nothing is an empty one."""
    data = _load(text, where)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: it should hold keys such as `model:`, but holds a {type(data).__name__}")
    return cast(dict[str, Any], data)


def _load(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{where}{place}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from None


def dump(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def override(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`data` with each `dotted.path=value` set; values are YAML, so lists and null work."""
    for assignment in overrides:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {assignment!r}: write it as dotted.path=value")
        _set(data, path.split("."), _load(value, f"override {path}"), path)
    return data


def _set(data: Any, parts: list[str], value: Any, path: str) -> None:
    head, *rest = parts
    key: Any = head
    if isinstance(data, list):
        if not head.isdigit() or int(head) >= len(cast(list[Any], data)):
            raise ConfigError(f"override {path}: the list there has no element {head!r}")
        key = int(head)
    elif not isinstance(data, dict):
        raise ConfigError(f"override {path}: there is no group of settings above {head!r}")
    if not rest:
        data[key] = value
        return
    container = cast(Any, data)
    if isinstance(data, dict) and container.get(key) is None:
        container[key] = {}
    _set(container[key], rest, value, path)


def interpolate(data: Any, where: str, path: str = "") -> Any:
    """`data` with `${VAR}` and `${VAR:-default}` in its strings replaced; a backslash before `$` keeps it."""
    if isinstance(data, dict):
        items = cast(dict[str, Any], data).items()
        return {key: interpolate(value, where, f"{path}.{key}" if path else str(key)) for key, value in items}
    if isinstance(data, list):
        return [interpolate(value, where, f"{path}.{i}") for i, value in enumerate(cast(list[Any], data))]
    if not isinstance(data, str):
        return data

    def value_of(match: re.Match[str]) -> str:
        default: str | None = match[2]
        value = os.environ.get(match[1], default)
        if value is None:
            raise ConfigError(f"{where}: {path}: the environment variable {match[1]} is not set")
        return value

    return _VARIABLE.sub(value_of, data).replace(r"\${", "${")


def parse_cli_overrides(args: list[str]) -> list[str]:
    """`--a.b 1`, `--a.b=1` and a bare `--flag` as `a.b=1` and `flag=true`.

    Raises:
        ConfigError: an argument belongs to no option.
    """
    overrides: list[str] = []
    waiting = list(args)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("--"):
            raise ConfigError(f"unexpected argument {argument!r}; settings are given as --dotted.path value")
        name, equals, value = argument[2:].partition("=")
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        overrides.append(f"{name}={value}")
    return overrides
