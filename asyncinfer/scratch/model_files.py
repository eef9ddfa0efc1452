"""Identifies the files of a local model, so that rows are sent again after the model was retrained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from asyncinfer.types.paths import PATH_ERRORS

# The files of a model's folder that determine its answers. Others, such as logs and outputs, may change at any time.
_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf", ".model", ".jinja", ".tiktoken"})
_NAMES = frozenset(
    {
        "adapter_config.json",
        "added_tokens.json",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)

_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")
# The setting that names the file, the file's name, its size in bytes, and its modification time in nanoseconds.
ModelFile = tuple[str, str, int, int]


def identify(paths: Mapping[str, Path]) -> list[ModelFile]:
    """The files at `paths`, which are keyed by the settings that name them. Blocks.

    A path may be a file or a folder. Files that do not exist or cannot be read are left out.
    """
    found: list[ModelFile] = []
    for setting, path in sorted(paths.items()):
        with suppress(*PATH_ERRORS):
            found += [(setting, file.name, *_size_and_time(file)) for file in _files(path)]
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES or file.name in _NAMES)
    model, shards = _SHARD.subn("", path.name)
    if not shards:
        return [path]
    return sorted(other for other in path.parent.iterdir() if _SHARD.subn("", other.name) == (model, 1))


def _size_and_time(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
