"""Recognises a LoRA adapter that `model_name` names instead of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import PATH_ERRORS, expanded, is_file, os_error_text

# peft writes this file next to the weights of an adapter. It names the base model.
_ADAPTER_CONFIG = "adapter_config.json"


class ModelNames(NamedTuple):
    """The model, and the adapter for it."""

    model_name: str
    adapter_model: str | None


def names_of(model_name: str, adapter_model: str | None) -> ModelNames:
    """The model and the adapter that the settings mean. Reads at most one small file of a local folder.

    If `model_name` is the folder of an adapter, and `adapter_model` is not set, the folder is the adapter. The model is
    then the adapter's base model, unless the folder also holds a model.

    Raises:
        ConfigError: The folder names no base model.
    """
    given = ModelNames(model_name, adapter_model)
    if adapter_model is not None or not model_name or model_name.startswith("pkg:"):
        return given
    folder = expanded(model_name, "model.model_name")
    if not is_file(folder / _ADAPTER_CONFIG):
        return given
    if is_file(folder / "config.json"):
        return ModelNames(model_name, model_name)
    return ModelNames(_base_model(folder / _ADAPTER_CONFIG, model_name), model_name)


def _base_model(path: Path, adapter: str) -> str:
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except PATH_ERRORS as error:
        raise ConfigError(f"model.model_name: {path} cannot be read: {os_error_text(error)}") from None
    name: Any = cast(dict[str, Any], config).get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"model.model_name: {adapter!r} is the folder of an adapter, and its {path.name} names no base model; "
            "set model.model_name to the base model, and model.adapter_model to the folder"
        )
    return name
