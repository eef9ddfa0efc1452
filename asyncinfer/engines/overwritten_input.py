"""Checks that a run does not write the files that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from os.path import normcase
from pathlib import Path

from asyncinfer.data.parts_table import PartsTable
from asyncinfer.data.table import Table
from asyncinfer.errors import ConfigError
from asyncinfer.run.failures import failures_path
from asyncinfer.run.shards import shard_numbers, shard_path
from asyncinfer.scratch.atomic import as_config_error, resolved
from asyncinfer.types.paths import expanded


def check_not_overwritten(table: Table, output: Path, *, has_shards: bool) -> None:
    """Check that a run does not replace a file of its input, and that the next run does not read its files. Blocks.

    Args:
        output: The output of the run, as an absolute path.
        has_shards: Whether the run also writes shards.

    Raises:
        ConfigError: It does, or a path cannot be resolved.
    """
    with as_config_error(output, "output_path"):
        output = _in_resolved_folder(output)
        written = {resolved(output): "output_path", resolved(failures_path(output)): "the file of failed rows"}
    for part in table.parts if isinstance(table, PartsTable) else (table,):
        if (path := part.path) is None:
            continue
        with as_config_error(path, "input_path", "read"):
            found = {_in_resolved_folder(path), resolved(path)}
        for name in written.keys() & found:
            raise ConfigError(f"input_path and {written[name]} are the same file, {path}; give each its own")
        if has_shards and any(shard_numbers(output, name) is not None for name in found):
            what = f"{path.name} has the name of a shard of {output.name}, which may replace it"
            raise ConfigError(f"output_path: {what}; choose another folder or name")
    if isinstance(table, PartsTable):
        _check_pattern(table.name, output, has_shards=has_shards)


def _check_pattern(pattern: str, output: Path, *, has_shards: bool) -> None:
    """Raise a ConfigError if the next run would read what this run writes."""
    parts = resolved(expanded(pattern, "input.path")).parts
    shards = (shard_path(output, 0, 1),) if has_shards else ()
    for written in (output, failures_path(output), *shards):
        if _matches(written.parts, parts):
            what = f"{written.name} matches the pattern of the input"
            raise ConfigError(f"output_path: {what}, so the next run would read it; choose another folder or name")


def _in_resolved_folder(path: Path) -> Path:
    """The path without symbolic links, apart from the file itself."""
    return resolved(path.parent) / path.name


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern, as `glob` matches it: only `**` stands for several folders, or for none."""
    if not names or not pattern:
        return not names and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(names, pattern[1:]) or _matches(names[1:], pattern)
    return fnmatchcase(normcase(names[0]), normcase(pattern[0])) and _matches(names[1:], pattern[1:])
