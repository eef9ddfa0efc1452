"""The GGUF file of a model is found, on a simulated hub."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncinfer.engines.local import gguf
from asyncinfer.errors import ConfigError

FILES = ["README.md", "m.Q4_K.gguf", "m.Q8_0.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that has FILES. Returns the list of downloaded files, which grows."""
    fetched: list[str] = []

    def list_repo_files(repo: str, revision: str | None) -> list[str]:
        if repo != "someone/models":
            raise OSError("no such repository")
        return FILES

    def hf_hub_download(repo: str, file: str, revision: str | None, **folders: Any) -> str:
        fetched.append(file)
        return f"{folders.get('cache_dir', '/cache')}/{file}"

    module: Any = ModuleType("huggingface_hub")
    module.__spec__ = ModuleSpec("huggingface_hub", None)
    module.list_repo_files, module.hf_hub_download = list_repo_files, hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return fetched


def test_default_is_the_eight_bit_file() -> None:
    assert gguf.find_local("someone/models") is None
    assert gguf.fetch("someone/models", None, {"cache_dir": "/c"}) == Path("/c/m.Q8_0.gguf")


def test_all_shards_are_fetched(hub: list[str]) -> None:
    assert gguf.fetch("someone/models", None, {"filename": "big*"}) == Path("/cache/big-00001-of-00002.gguf")
    assert hub == FILES[3:]


@pytest.mark.parametrize("pattern", ["*.gguf", "*Q5*"])
def test_ambiguous_pattern_names_the_choices(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"matches \d files.*m\.Q4_K\.gguf"):
        gguf.fetch("someone/models", None, {"filename": pattern})


def test_error_of_the_hub_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no such repository"):
        gguf.fetch("someone/nothing", None, {})


def test_projector_is_not_taken_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FILES", ["m-Q8_0.gguf", "mmproj-m-F16.gguf", "mmproj-m-Q8_0.gguf"])
    assert gguf.fetch("someone/models", None, {}) == Path("/cache/m-Q8_0.gguf")
    assert gguf.find_projector("mmproj*F16*", "someone/models") is None
    options = {"mmproj": "mmproj*F16*", "filename": "m-*"}
    assert gguf.fetch("someone/models", None, options, "mmproj") == Path("/cache/mmproj-m-F16.gguf")
    with pytest.raises(ConfigError, match=r"model_kwargs\.mmproj: 'mmproj\*' matches 2 files"):
        gguf.fetch("someone/models", None, {"mmproj": "mmproj*"}, "mmproj")
