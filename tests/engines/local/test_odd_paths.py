"""A setting with an impossible file name is a ConfigError."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncinfer import ConfigError, LlamaCppInferenceEngine, ModelParams
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.chat_prompt import resolve_chat_template, template_file
from asyncinfer.engines.local.vllm.args import check_adapter

ODD = ["~nobody-of-this-name/x.gguf", "a\0b.gguf", "x" * 300 + ".gguf", "half \ud800.gguf", "/dev/null/x.gguf"]
odd = pytest.mark.parametrize("name", ODD)


@odd
def test_impossible_model_name_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.model_name"):
        gguf.find_local(name)


@odd
def test_impossible_projector_path_is_a_config_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(ConfigError, match=r"model\.model_kwargs\.mmproj"):
        gguf.find_projector(name, str(tmp_path / "m.gguf"))


@odd
def test_impossible_chat_template_path_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.chat_template"):
        template_file(name)


@odd
def test_impossible_adapter_path_is_a_config_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(ConfigError, match=r"model\.adapter_model"):
        LlamaCppInferenceEngine(ModelParams(model_name=str(tmp_path / "m.gguf"), adapter_model=name))
    with pytest.raises(ConfigError, match=r"model\.adapter_model"):
        check_adapter(name)


def test_chat_template_in_another_encoding_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match=r"model\.chat_template: .*not UTF-8"):
        resolve_chat_template(ModelParams(model_name="m", chat_template=str(tmp_path / "t.jinja")))


def test_pipe_as_chat_template_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.jinja")
    with pytest.raises(ConfigError, match=r"model\.chat_template"):
        resolve_chat_template(ModelParams(model_name="m", chat_template=str(tmp_path / "t.jinja")))
