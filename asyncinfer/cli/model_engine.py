"""Chooses the engine for the model that the user names, or says which options make it clear."""

from __future__ import annotations

from asyncinfer.config.engine_type import config_name
from asyncinfer.engines.guess import candidate_engines, is_repository
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG


def engine_for_model(model: str) -> str:
    """Return the name of the engine for a model.

    Raises:
        ConfigError: The model's name does not make it clear. The message says what the user may have meant.
    """
    candidates = candidate_engines(model)
    if len(candidates) == 1:
        return candidates[0]
    problem = f"{model!r} does not say which engine runs it" if model else "there is no model"
    raise ConfigError(f"{problem}: {_advice(model, candidates)}")


def _advice(model: str, candidates: list[str]) -> str:
    if candidates:
        return f"give one of -e {', -e '.join(map(config_name, candidates))}"
    if is_repository(model):
        return (
            "give -e NATIVE or -e VLLM to run a repository of the Hugging Face hub in this process, or the engine of "
            "an API that offers this model, such as -e OPENROUTER, -e TOGETHER or -e HUGGING_FACE_ROUTER"
        )
    if model.startswith((".", "~")) or "/" in model:
        return "there is no such file or folder. Correct the path, or give -e ENGINE"
    prefixes = [
        f"{', '.join(p.model_prefixes)} ({config_name(name)})" for name, p in CATALOG.items() if p.model_prefixes
    ]
    return (
        "give -e ENGINE (`asyncinfer engines` lists them), or --api-url URL for a server with OpenAI's API. Without "
        "-e, a model is a .gguf file, pkg:PACKAGE/FILE.gguf, a folder, or a name that begins with one of: "
        + "; ".join(prefixes)
    )
