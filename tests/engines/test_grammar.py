"""The grammars that llama.cpp is given."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from asyncinfer import GenerationParams, GuidedDecodingParams, RequestError
from asyncinfer.engines.grammar import grammar_for


def guided(**by: Any) -> str | None:
    return grammar_for(GenerationParams(guided_decoding=GuidedDecodingParams(**by)), [])


def test_choices_use_only_the_escapes_that_gbnf_knows() -> None:
    assert guided(choice=["yes", "é😀", "a\bb\f"]) == r'root ::= "yes" | "é😀" | "a\x08b\x0C"'


@pytest.mark.parametrize("by", [{"choice": ["a\0b"]}, {"json": {"const": "a\0b"}}])
def test_a_nul_is_refused(by: dict[str, Any]) -> None:
    """llama.cpp would end the process."""
    if "json" in by and find_spec("llama_cpp") is None:
        pytest.skip("needs the extra llamacpp")
    with pytest.raises(RequestError, match=r"U\+0000"):
        guided(**by)


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="needs the extra llamacpp")
def test_characters_beyond_the_basic_plane_are_themselves() -> None:
    grammar = guided(json=json.dumps({"const": "é😀"}))
    assert grammar is not None
    assert "😀" in grammar
    assert "ud83d" not in grammar
