"""Loads tokenizers with Transformers, and gives errors that name the setting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.errors import ConfigError, error_text
from asyncinfer.types.paths import expanded

log = logging.getLogger("asyncinfer")


def load_tokenizer(params: ModelParams, source: str, gguf_file: str | None = None) -> Any:
    """Load `model.tokenizer_name`, or else the tokenizer of the model. Blocks.

    Args:
        source: The folder or the hub repository of the model.
        gguf_file: The GGUF file in it that has the tokenizer.

    Raises:
        ConfigError: It cannot be loaded.
    """
    auto: Any = import_module("transformers").AutoTokenizer
    options = {**common_options(params), **params.tokenizer_kwargs}
    if params.tokenizer_name:
        setting, name = "model.tokenizer_name", str(expanded(params.tokenizer_name, "model.tokenizer_name"))
        options.pop("revision", None)
    else:
        setting, name = "model.model_name", source
        if gguf_file:
            options.setdefault("gguf_file", gguf_file)
    tokenizer = try_to_load(setting, name, lambda: auto.from_pretrained(name, **options))
    if params.tokenizer_pad_token is not None:
        tokenizer.pad_token = params.tokenizer_pad_token
    return tokenizer


def common_options(params: ModelParams) -> dict[str, Any]:
    """The arguments of every `from_pretrained`."""
    options: dict[str, Any] = {"trust_remote_code": params.trust_remote_code}
    if params.model_revision is not None:
        options["revision"] = params.model_revision
    if "cache_dir" in params.model_kwargs:
        options["cache_dir"] = params.model_kwargs["cache_dir"]
    return options


def try_to_load(setting: str, name: str, attempt: Callable[[], Any]) -> Any:
    """The result of `attempt`. Its failure becomes a ConfigError that names the setting.

    Raises:
        ConfigError: `attempt` failed.
    """
    try:
        return attempt()
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(f"{setting}: {name!r} needs a package that cannot be imported: {error}") from error
    except Exception as error:
        log.debug("loading %s failed", name, exc_info=error)
        raise ConfigError(
            f"{setting}: Transformers cannot load {name!r}: {_brief(error)}. Give a folder, a hub repository or a GGUF "
            "file that Transformers supports. Check that it is complete (download it again if a file is damaged), and "
            "that model_kwargs suit it and this machine"
        ) from error


def _brief(error: Exception) -> str:
    text = error_text(error)
    return text if len(text) < 600 else f"{text[:600]}..."
