"""The local files that the settings of a model name."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from asyncinfer.config import ModelParams
from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import expanded, is_file

# The `model_kwargs` that select files of a hub repository.
HUB_OPTIONS = frozenset({"filename", "cache_dir", "local_dir"})


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
                paths[setting] = existing_file(name, f"model.{setting}") or expanded(name, f"model.{setting}")
    folder = paths.get("model_name")
    if folder is not None and isinstance(filename := params.model_kwargs.get("filename"), str):
        paths["model_kwargs.filename"] = folder / filename
    return paths


def existing_file(name: str, setting: str) -> Path | None:
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
