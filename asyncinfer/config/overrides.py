"""Settings from the command line or from code, as `dotted.path=value` or `--dotted.path value`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, cast

from asyncinfer.config.problems import HEADERS, Location, is_secret
from asyncinfer.config.yaml import load
from asyncinfer.errors import ConfigError
from asyncinfer.types.masking import mask_url

HIDDEN = "<hidden>"
# An argument that names a setting: `--dotted.path` or `--dotted.path=value`.
_NAME = re.compile(r"--[A-Za-z_][^\s=]*(?:=.*)?", re.DOTALL)
_INDEX = re.compile(r"\[(\d+)\]")
# Templates and delimiters are always text. YAML would read `Summarise: {{ text }}` as a mapping.
_TEXTS = frozenset(["input.prompt", "input.system", "input.delimiter"])
# Groups of settings for which a text may stand: where their paths begin, and the setting whose value the text is.
_SHORT_FORMS = {"remote_params.endpoints.": "api_url"}
# Settings with two names: the first is at the top, the second in a group.
_SAME = {"input_path": ("input", "path"), "output_path": ("output", "path")}


def override(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with each `dotted.path=value` set. Values are YAML, so that lists and null work.

    The copy shares all other values with `data`. An override of `input_path` also replaces `input.path`, which is the
    same setting, and the other way round.

    Raises:
        ConfigError: An override is malformed, or its path leads below a single value.
    """
    for assignment in overrides:
        path, equals, value = assignment.partition("=")
        path = _INDEX.sub(r".\1", path.strip())
        if not equals or not path:
            raise ConfigError(f"override {path.split()[0] if path else '=...'}: write it as dotted.path=value")
        parsed = _parsed(value, path)
        data = _with_value(_without_other_name(data, path, parsed), path.split("."), parsed, path)
    return data


def _without_other_name(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`data` without the setting that has the same meaning as the one at `path`, which overrides it."""
    for name, (group, inner) in _SAME.items():
        settings = data.get(group)
        if path == name and isinstance(settings, dict) and inner in settings:
            others = {key: other for key, other in cast(dict[Any, Any], settings).items() if key != inner}
            return {**data, group: others}
        sets_inner = path == f"{group}.{inner}" or (path == group and isinstance(value, dict) and inner in value)
        if sets_inner and name in data:
            return {key: other for key, other in data.items() if key != name}
    return data


def _parsed(text: str, path: str) -> Any:
    parts = path.split(".")
    if is_secret(parts) and parts[-1] != HEADERS:
        # A secret is always text, also if YAML reads it as a number, and no message may quote it.
        return None if text == "null" else text
    if path in _TEXTS or _is_file(parts, text):
        return _unquoted(text)
    try:
        return load(text, f"override {path}")
    except ConfigError as error:
        if is_secret(parts):
            raise ConfigError(f"override {path}: not valid YAML") from None
        raise ConfigError(f"{error}; text with special characters goes in quotes") from None


def _is_file(parts: list[str], text: str) -> bool:
    """Whether the value is a path. YAML would read `*.csv` as an alias, and `2026` as a number.

    `true` is not one: an option without a value has it.
    """
    return _is_path(parts) and text not in ("", "true")


def _is_path(parts: list[str]) -> bool:
    return parts[-1] == "path" or parts[-1].endswith("_path")


def _unquoted(text: str) -> str | None:
    """The text as it is, or without quotes if they enclose it as in YAML; None for `null`."""
    if text == "null" or text[:1] not in ("'", '"'):
        return None if text == "null" else text
    try:
        value = load(text, "")
    except ConfigError:  # For instance `"{{ a }}" and "{{ b }}"`.
        return text
    return value if isinstance(value, str) else text


def _with_value(data: Any, parts: list[str], value: Any, path: str) -> Any:
    if not parts:
        return value
    head, *rest = parts
    if isinstance(data, list):
        return _with_element(cast(list[Any], data), head, rest, value, path)
    if isinstance(data, str) and (setting := _short_form_of(path)) is not None:
        data = {setting: data}
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"override {path}: the value above {head!r} is a single value, not a group of settings")
    group = cast(dict[Any, Any], data or {})
    key = next((key for key in group if str(key) == head), head)  # In a file, token ids are numbers.
    return {**group, key: _with_value(group.get(key), rest, value, path)}


def _short_form_of(path: str) -> str | None:
    """Return the setting that a text in place of a group stands for; None if the group has no short form."""
    return next((setting for start, setting in _SHORT_FORMS.items() if path.startswith(start)), None)


def _with_element(data: list[Any], head: str, rest: list[str], value: Any, path: str) -> list[Any]:
    if not head.isdecimal() or int(head) >= len(data):
        raise ConfigError(f"override {path}: the list has no element {head!r} (its length is {len(data)})")
    at = int(head)
    return [*data[:at], _with_value(data[at], rest, value, path), *data[at + 1 :]]


def names_setting(argument: str) -> bool:
    """Whether an argument of the command line is `--dotted.path` or `--dotted.path=value`, and not a value."""
    return _NAME.fullmatch(argument) is not None


def parse_cli_overrides(args: list[str]) -> list[str]:
    """`--a.b 1`, `--a.b=1` and a bare `--flag` as `a.b=1` and `flag=true`. A value may begin with a dash.

    Raises:
        ConfigError: An argument does not belong to an option, or a text has no value.
    """
    overrides: list[str] = []
    remaining = list(args)
    while remaining:
        argument = remaining.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise ConfigError(_unexpected(argument, overrides[-1] if overrides else ""))
        if not equals and remaining and not names_setting(remaining[0]):
            value = remaining.pop(0)
        elif not equals:
            value = _without_value(name)
        overrides.append(f"{name}={value}")
    return overrides


def _without_value(name: str) -> str:
    """The value of a setting that is given without one.

    Raises:
        ConfigError: The setting is a text.
    """
    parts = name.split(".")
    if name in _TEXTS or _is_path(parts) or is_secret(parts):
        raise ConfigError(f"--{name} has no value; if the value begins with a dash, write --{name}=VALUE")
    return "true"


def mask_arguments(args: Iterable[str]) -> list[str]:
    """Command line arguments as they may be shown: secrets are replaced."""
    shown: list[str] = []
    secret_next = text_next = False
    for argument in args:
        name, equals, _ = argument.partition("=")
        path = name.removeprefix("--")
        secret = "://" not in name and is_secret(path.split("."))
        if text_next or (path in _TEXTS and equals):
            hidden = mask_url(argument) if "://" in argument else argument
        elif secret and equals:
            hidden = f"{name}={HIDDEN}"
        else:
            hidden = HIDDEN if secret_next else _without_credentials(argument)
        secret_next, text_next = secret and not equals, path in _TEXTS and not equals
        shown.append(hidden)
    return shown


def _without_credentials(argument: str) -> str:
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.lstrip().startswith(("{", "[")):  # A group of settings as YAML, which may hold keys.
        return f"{name}{equals}{_masked_group(value)}"
    return mask_url(argument) if "://" in argument else argument


def _masked_group(text: str) -> str:
    """Settings in YAML without secrets, as JSON. Settings without secrets stay as they are."""
    try:
        settings = load(text, "")
    except ConfigError:
        return HIDDEN
    masked = _masked(settings, ())
    return text if masked == settings else json.dumps(masked, default=str)


def _masked(value: Any, place: Location) -> Any:
    if is_secret(place):
        return HIDDEN
    if isinstance(value, dict):
        return {key: _masked(inner, (*place, str(key))) for key, inner in cast(dict[Any, Any], value).items()}
    if isinstance(value, list):
        return [_masked(inner, place) for inner in cast(list[Any], value)]
    return _without_credentials(value) if isinstance(value, str) else value


def _unexpected(argument: str, before: str) -> str:
    before = before.partition("=")[0]
    shown = "" if is_secret(before.split(".")) else f" {_without_credentials(argument)!r}"
    after = f" after --{before}" if before else ""
    return f"unexpected argument{shown}{after}; settings are given as --dotted.path value"
