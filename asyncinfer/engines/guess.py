"""Guesses the engine from the name of a model, where the name makes it clear."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.config import InferenceEngineType
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.paths import exists, expanded, is_folder

_GGUF = ".gguf"
# A folder with one of these files is a model of Transformers, or a LoRA adapter for one.
_MODEL_FILES = ("config.json", "adapter_config.json")


def guess_engine(model: str) -> str:
    """Return the name of the engine for a model. Reads the names of files, but loads nothing.

    A GGUF file, a file in a Python package and a repository of GGUF files mean LLAMACPP. A folder that holds a model
    means NATIVE. The rows of the providers have the prefixes of the names of their models.

    Raises:
        ConfigError: The name does not make it clear. The message lists what could be meant.
    """
    if not model:
        raise ConfigError(f"there is no model: {_advice(model, [])}")
    if model.lower().endswith(_GGUF) or model.startswith("pkg:"):
        return InferenceEngineType.LLAMACPP
    path = expanded(model, "model.model_name")
    if is_folder(path):
        return _engine_of_folder(path)
    offering = [name for name, provider in CATALOG.items() if model.lower().startswith(provider.model_prefixes or "\0")]
    if len(offering) == 1:
        return offering[0]
    owner, slash, repository = model.partition("/")
    if owner and slash and "gguf" in repository.lower() and "/" not in repository:
        return InferenceEngineType.LLAMACPP
    raise ConfigError(f"{model!r} does not say which engine runs it: {_advice(model, offering)}")


def _engine_of_folder(path: Path) -> str:
    if any(exists(path / name) for name in _MODEL_FILES):
        return InferenceEngineType.NATIVE
    raise ConfigError(f"the folder {path} is not a model: it has no {' and no '.join(_MODEL_FILES)}")


def _advice(model: str, offering: list[str]) -> str:
    """Return what the user may have meant, as the end of a message."""
    if offering:
        return f"give one of -e {', -e '.join(offering)}"
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return "there is no such file or folder. Correct the path, or give -e ENGINE"
    if "/" in model:
        return (
            "give -e NATIVE or -e VLLM to run a repository of the Hugging Face hub in this process, or the engine of "
            "an API that offers this model, such as -e OPENROUTER, -e TOGETHER or -e HUGGING_FACE_ROUTER"
        )
    known = [f"{', '.join(p.model_prefixes)} ({_name(name)})" for name, p in CATALOG.items() if p.model_prefixes]
    return (
        "give -e ENGINE (`asyncinfer engines` lists them), or --api-url URL for a server with OpenAI's API. Without "
        "-e, a model is a .gguf file, pkg:PACKAGE/FILE.gguf, a folder, or a name that begins with one of: "
        + "; ".join(known)
    )


def _name(name: str) -> str:
    return name.name if isinstance(name, InferenceEngineType) else name
