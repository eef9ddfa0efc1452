"""Guesses the engine from the name of a model, where the name makes it clear."""

from __future__ import annotations

import re
from pathlib import Path

from asyncinfer.config import InferenceEngineType
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.paths import exists, expanded, is_folder

_GGUF = ".gguf"
# A folder with one of these files is a model of Transformers, or a LoRA adapter for one.
_MODEL_FILES = ("config.json", "adapter_config.json")
# A repository of the Hugging Face hub: its owner, and its name. The ARNs of Bedrock have a slash too, after colons.
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def candidate_engines(model: str) -> list[str]:
    """Return the names of the engines that a model's name suggests. Reads the names of files, but loads nothing.

    A GGUF file, a file in a Python package and a repository of GGUF files mean LLAMACPP. A folder that holds a model
    means NATIVE. Other names begin with one of the `model_prefixes` of a provider. The name of a repository (see
    `is_repository`) suggests no provider, because several may offer it, and it can run in this process.

    Returns:
        One name if the model's name makes it clear, otherwise several or none.

    Raises:
        ConfigError: The folder is not a model, or the path is not valid.
    """
    if not model:
        return []
    if model.lower().endswith(_GGUF) or model.startswith("pkg:"):
        return [InferenceEngineType.LLAMACPP]
    path = expanded(model, "model.model_name")
    if is_folder(path):
        return [_engine_of_folder(path)]
    if is_repository(model):
        return [InferenceEngineType.LLAMACPP] if "gguf" in model.partition("/")[2].lower() else []
    if ":" not in (owner := model.partition("/")[0]) and owner != model:
        return []  # a path
    return [name for name, provider in CATALOG.items() if model.lower().startswith(provider.model_prefixes)]


def is_repository(model: str) -> bool:
    """Return whether a name has the form of a repository of the Hugging Face hub, `owner/name`."""
    return _REPOSITORY.fullmatch(model) is not None and not model.startswith(".")


def _engine_of_folder(path: Path) -> str:
    if any(exists(path / name) for name in _MODEL_FILES):
        return InferenceEngineType.NATIVE
    raise ConfigError(f"the folder {path} is not a model: it has no {' and no '.join(_MODEL_FILES)}")
