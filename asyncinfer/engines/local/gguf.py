"""Finds the GGUF file of a model name: a path, a file in a Python package, or a file in a hub repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import exists, expanded, is_file, is_folder

HUB_OPTIONS = frozenset({"filename", "cache_dir", "local_dir"})
DEFAULT_FILENAME = "*8_0.gguf"

REPO_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def find_local(name: str) -> Path | None:
    """The local file of a model name. None if it names a hub repository.

    Raises:
        ConfigError: There is no such file.
    """
    if (file := _existing_file(name, "model.model_name")) is not None:
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
    if (file := _existing_file(name, "model.model_kwargs.mmproj")) is not None:
        return file
    path = expanded(name, "model.model_kwargs.mmproj")
    if not path.is_absolute() and not exists(path) and find_local(model) is None:
        return None
    raise ConfigError(
        f"model.model_kwargs.mmproj: {path.absolute()} is not a file. Give the path of the projector's .gguf "
        "file, pkg:package/file.gguf, or the name of a file in the hub repository of model.model_name"
    )


def model_paths(params: ModelParams) -> dict[str, Path]:
    """The local paths in the settings of a model, by setting. Some may not exist.

    Hub repositories are left out: the content of a revision does not change, and its files exist here only after the
    first run has downloaded them. The text of the chat template is part of the settings already.
    """
    kwargs = {f"model_kwargs.{name}": value for name, value in params.model_kwargs.items() if name not in HUB_OPTIONS}
    named = {
        "model_name": params.model_name,
        "adapter_model": params.adapter_model,
        "tokenizer_name": params.tokenizer_name,
        **kwargs,
    }
    paths: dict[str, Path] = {}
    for setting, name in named.items():
        if isinstance(name, str) and name:
            with suppress(ConfigError):
                paths[setting] = _existing_file(name, f"model.{setting}") or expanded(name, f"model.{setting}")
    folder = paths.get("model_name")
    if folder is not None and isinstance(filename := params.model_kwargs.get("filename"), str):
        paths["model_kwargs.filename"] = folder / filename
    return paths


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


def _existing_file(name: str, setting: str) -> Path | None:
    """The file, if `name` is the path of a file or of a file in a package."""
    if name.startswith("pkg:"):
        return _in_package(name, setting)
    path = expanded(name, setting)
    return path if is_file(path) else None


def _in_package(name: str, setting: str) -> Path:
    package, _, file = name.removeprefix("pkg:").partition("/")
    # The package is found but not imported: importing it may need modules that are not installed.
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"{setting}: {name!r} names the Python package {package!r}, which is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not is_file(folder / file):
        available = ", ".join(sorted(path.name for path in folder.glob("*.gguf"))) or "no .gguf file"
        raise ConfigError(f"{setting}: the package {package!r} has no file {file!r}; it has {available}")
    return folder / file


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
