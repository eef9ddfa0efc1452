"""Checks the paths of a run before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asyncinfer.errors import ConfigError
from asyncinfer.run.failures import failures_path
from asyncinfer.scratch.atomic import as_config_error, check_replaceable, check_target, resolved
from asyncinfer.scratch.file import scratch_path


def check_paths(
    input_path: Path | None,
    output_path: Path | None,
    progress_path: Path | None,
    others: Mapping[str, Path] | None = None,
) -> None:
    """Check that the files can be written, and that no two settings name the same file. Blocks.

    Args:
        others: Further files that are written, by the names of their settings.

    Raises:
        ConfigError: A path cannot be used.
    """
    written = {**(others or {})}
    if progress_path is not None:
        written["progress_path"] = progress_path
    for name, path in written.items():
        check_replaceable(path, name)
    paths: dict[str, Path] = {}
    if output_path is not None:
        check_target(output_path, "output_path")
        paths = {
            "output_path": output_path,
            "the scratch file": scratch_path(output_path),
            "the file of failed rows": failures_path(output_path),
        }
    if input_path is not None:
        paths["input_path"] = input_path
    paths |= written
    names: dict[Path, str] = {}
    for name, path in paths.items():
        with as_config_error(path, name, "read" if name == "input_path" else "written"):
            target = resolved(path)
        if (other := names.setdefault(target, name)) != name:
            raise ConfigError(f"{name} and {other} are the same file, {path}; give each its own")
