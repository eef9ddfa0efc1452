"""Finds the GGUF file of a model name: a path, a file in a Python package, or a file in a hub repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asyncinfer.engines.local.model_paths import HUB_OPTIONS, existing_file
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import exists, expanded, is_folder

DEFAULT_FILENAME = "*8_0.gguf"

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def find_local(name: str) -> Path | None:
    """The local file of a model name. None if it names a hub repository.

    Raises:
        ConfigError: There is no such file.
    """
    if (file := existing_file(name, "model.model_name")) is not None:
        return file
    path = expanded(name, "model.model_name")
    if not name.endswith(".gguf") and not exists(path) and REPO_NAME.fullmatch(name):
        return None
    problem = "is a directory" if is_folder(path) else "does not exist"
    raise ConfigError(
        f"model.model_name: {path.absolute()} {problem}. Give the path of a .gguf file, a hub repository "
        "(owner/name, with model_kwargs.filename), or pkg:package/file.gguf"
    )


def find(name: str, revision: str | None, options: Mapping[str, Any]) -> Path:
    """The file of a model name. Downloads it if it is in a hub repository.

    Raises:
        ConfigError: There is no such file, or more than one.
    """
    return find_local(name) or fetch(name, revision, options)


def find_projector(name: str, model: str) -> Path | None:
    """The local file of the option `mmproj`. None if it names a file in the hub repository of the model.

    Raises:
        ConfigError: There is no such file.
    """
    if (file := existing_file(name, "model.model_kwargs.mmproj")) is not None:
        return file
    path = expanded(name, "model.model_kwargs.mmproj")
    if not path.is_absolute() and not exists(path) and find_local(model) is None:
        return None
    raise ConfigError(
        f"model.model_kwargs.mmproj: {path.absolute()} is not a file. Give the path of the projector's .gguf "
        "file, pkg:package/file.gguf, or the name of a file in the hub repository of model.model_name"
    )


def fetch(repo: str, revision: str | None, options: Mapping[str, Any], setting: str = "filename") -> Path:
    """Download the file of `repo` that matches `options[setting]`, with all its shards. Returns its path.

    Raises:
        ConfigError: The hub does not deliver it, or several files match.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError("huggingface-hub", "llamacpp")
    hub: Any = import_module("huggingface_hub")
    folders = {name: options[name] for name in HUB_OPTIONS - {"filename"} if name in options}
    try:
        files: list[str] = hub.list_repo_files(repo, revision=revision)
        wanted = _match(repo, files, str(options.get(setting, DEFAULT_FILENAME)), setting)
        paths = [hub.hf_hub_download(repo, file, revision=revision, **folders) for file in wanted]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model.model_name: {repo!r} is not a local file, and the Hugging Face hub did not deliver it: {error}"
        ) from error
    return Path(paths[0])


def _match(repo: str, files: list[str], pattern: str, setting: str) -> list[str]:
    """The file that matches, or all shards of the model that matches, first shard first."""
    # A repository often has a projector with a name like the model's.
    if setting == "filename":
        files = [file for file in files if "mmproj" not in file.lower()]
    matching = sorted(file for file in files if fnmatch(file, pattern))
    if len({_SHARD.sub("", file) for file in matching}) == 1:
        return matching
    choices = matching or [file for file in files if file.endswith(".gguf")]
    raise ConfigError(
        f"model.model_kwargs.{setting}: {pattern!r} matches {len(matching)} files of {repo}; "
        f"set it to one of: {', '.join(choices) or '(it has no .gguf file)'}"
    )
