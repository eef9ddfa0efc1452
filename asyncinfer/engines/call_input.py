"""The input of a call: where its rows come from, and whether it is valid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from asyncinfer.config import InferenceConfig
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.rows import FileSource, ListSource, Source, require_messages
from asyncinfer.scratch.atomic import as_config_error
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.paths import expanded

# The largest row that is prepared on the event loop, in characters.
_SMALL = 1 << 14


def check_types(conversation: object, config: object) -> None:
    if not isinstance(conversation, Conversation):
        raise InputError(f"conversation should be a Conversation (found {type(conversation).__name__})")
    if not isinstance(config, InferenceConfig | None):
        raise ConfigError(f"inference_config should be an InferenceConfig (found {type(config).__name__})")
    require_messages(conversation)


def is_one_small_row(
    input: Sequence[object] | None, config: InferenceConfig | None
) -> TypeGuard[Sequence[Conversation]]:
    """Whether there is one row of text, small enough for the event loop, and nothing is to be saved."""
    if not isinstance(input, list | tuple) or len(input) != 1:
        return False
    if config is not None and (config.input_path or config.output_path or config.progress_path or config.reuse_output):
        return False
    row = input[0]
    if not isinstance(row, Conversation):
        return False
    contents = [message.content for message in row.messages]
    return all(isinstance(c, str | None) for c in contents) and sum(len(c or "") for c in contents) <= _SMALL


def check_no_path(config: InferenceConfig | None) -> None:
    """Raise a ConfigError if `config` names an input file, although the rows are given as objects."""
    if config is not None and config.input_path is not None:
        raise ConfigError(
            f"input_path: {config.input_path} is set, and there is an input too; give one of them. "
            "config.model_copy(update={'input_path': None}) is the same configuration without the path"
        )


def source_of(input: Sequence[Conversation] | None, config: InferenceConfig | None) -> Source | None:
    """Where the rows come from; None for an empty list, which needs no run.

    Raises:
        ConfigError: There is no input, or there are two.
    """
    path = config.input_path if config is not None else None
    if input is not None:
        check_no_path(config)
        if isinstance(input, Conversation):
            raise InputError("input is a list of conversations; for one, pass [conversation]")
        return ListSource(list(input)) if input else None
    if path is None:
        raise ConfigError("there is nothing to run: pass input=[...] or set input_path")
    return file_source(path)


def file_source(path: str) -> Source:
    """The source that reads the file at `path`."""
    return FileSource(expanded(path, "input_path"))


def absolute_path(given: str | Path | None, setting: str) -> Path | None:
    """The absolute path, so that a later change of the working directory has no effect. `~` is the user's home.

    Raises:
        ConfigError: no file can have this path.
    """
    if given is None:
        return None
    path = expanded(given, setting)
    folder, name = os.path.split(given)
    if folder and name in ("", "."):
        raise ConfigError(f"{setting}: {os.fspath(given)} is the path of a folder; give the path of a file to write")
    with as_config_error(path, setting):
        return path.absolute()
