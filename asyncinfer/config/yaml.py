"""Reads and writes YAML. Repeated keys are errors, and numbers and dates follow YAML 1.2."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any, cast

import yaml

from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import os_error_text
from asyncinfer.types.pipes import MAX_BYTES, read_small

_INT, _FLOAT, _TIMESTAMP, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp", "merge"))
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
# Far larger than any real configuration. PyYAML reads about 100 kB a second.
_MAX_BYTES = MAX_BYTES
# Deeper nesting would come close to Python's recursion limit.
_MAX_DEPTH = 100
# The number of values that all aliases repeat in total. Each alias is expanded separately, so that a small file could
# mean billions of values.
_MAX_REPEATED = 100_000
_UNUSUAL_BREAKS = re.compile("[\r\x85\u2028\u2029]")


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's resolvers with two changes: `1e-3` is a number, and `2024-01-01`, `0777` and `1:30` are text, because a
    model's revision may look like that.
    """
    usual = cast(Any, yaml.SafeLoader).yaml_implicit_resolvers
    changed = {first: [one for one in ones if one[0] not in (_TIMESTAMP, _INT)] for first, ones in usual.items()}
    for first in "-+.0123456789":
        changed[first] = [(_INT, _INTEGER), *changed.get(first, []), (_FLOAT, _EXPONENT)]
    return changed


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # An alias inside the value that it refers to is then an error, not a cycle.
        self._depth = self._nodes = self._repeated = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. The values behind an alias are counted again for each alias."""
        alias = self.check_event(yaml.AliasEvent)
        mark: Any = cast(Any, self).peek_event().start_mark
        begin, self._depth = self._nodes, self._depth + 1
        if self._depth > _MAX_DEPTH:
            raise _refused(f"it is nested more than {_MAX_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            repeated = self._sizes.get(id(node), 1)
            self._nodes += repeated
            self._repeated += repeated
            if self._repeated > _MAX_REPEATED:
                raise _refused(f"aliases repeat more than {_MAX_REPEATED:,} values", mark)
        else:
            self._nodes += 1
            self._sizes[id(node)] = self._nodes - begin
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. A repeated key is an error, because its first value would be lost."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen and key.tag != _MERGE:
                raise _refused(f"the key {key.value!r} occurs twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _refused(why: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, why, mark)


class _Dumper(yaml.SafeDumper):
    # Puts a text in quotes only if the loader would not read it as text.
    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML normalises these line breaks, except between double quotes, where it escapes them.
        style = '"' if _UNUSUAL_BREAKS.search(data) else None
        return cast(Any, self).represent_scalar("tag:yaml.org,2002:str", data, style=style)


cast(Any, _Dumper).add_representer(str, _Dumper.represent_str)


def read(path: Path) -> str:
    """The text of the file.

    Raises:
        ConfigError: The file cannot be read, or is too large.
    """
    try:
        data = read_small(path, max_bytes=_MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(f"{path}: the configuration is larger than {_MAX_BYTES >> 20} MiB") from None
        raise ConfigError(f"{path}: cannot be read: {os_error_text(error)}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: it is not UTF-8 text") from None


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping in `text`; empty if the text is empty.

    Args:
        where: The file, for messages.

    Raises:
        ConfigError: The text is not valid YAML, with line and column, or not a mapping.
    """
    data = load(text, where)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: it should contain keys such as `model:` (found a {type(data).__name__})")
    return cast(dict[str, Any], data)


def load(text: str, where: str) -> Any:
    """The YAML value in `text`, of any type.

    Raises:
        ConfigError: The text is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{where}{place}: not valid YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{where}: not valid YAML: character {error.position + 1}: {error.reason}") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:  # For instance `!!bool x`.
        raise ConfigError(f"{where}: not valid YAML: {type(error).__name__}") from None


def dump(data: dict[str, Any]) -> str:
    """`data` as YAML, which `load` reads back unchanged."""
    untyped: Any = yaml  # Some versions of its type stubs leave the type of `dump` partly unknown.
    return untyped.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
