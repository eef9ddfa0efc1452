"""What a row's identity holds, and what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, GuidedDecodingParams, ModelParams, RemoteParams
from asyncinfer.scratch.keys import IN, OUT, RowKeys, row_id
from tests.fakes import question

HELLO = question("hello")


def key(
    conversation: Conversation = HELLO,
    engine: str = "REMOTE",
    model: dict[str, Any] | None = None,
    remote: dict[str, Any] | None = None,
    **generation: Any,
) -> bytes:
    keys = RowKeys(
        engine,
        ModelParams.model_validate({"model_name": "m", **(model or {})}),
        GenerationParams.model_validate(generation),
        RemoteParams.model_validate({"api_url": "https://api.example.com/v1", **(remote or {})}),
    )
    return keys(conversation)


@pytest.mark.parametrize("params", [ModelParams, GenerationParams, GuidedDecodingParams, RemoteParams])
def test_every_field_is_either_in_or_out(params: type[Any]) -> None:
    assert IN[params] | OUT[params] == set(params.model_fields)
    assert not IN[params] & OUT[params]


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": "OPENAI"},
        {"model": {"model_name": "other"}},
        {"model": {"model_kwargs": {"n_ctx": 8}}},
        {"remote": {"api_url": "https://other.example.com/v1"}},
        {"temperature": 0.5},
        {"seed": 1},
        {"guided_decoding": {"choice": ["a"]}},
        {"conversation": question("hello!")},
        {"conversation": question("hello", tools=[{"type": "function", "function": {"name": "f"}}])},
        {"conversation": Conversation.from_dict({"messages": [{"role": "system", "content": "hello"}]})},
        {"conversation": Conversation.from_dict({"messages": [{"role": "user", "content": "hello", "name": "Ann"}]})},
    ],
)
def test_what_determines_the_answer_counts(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


@pytest.mark.parametrize(
    "changed",
    [
        {"remote": {"api_key": "sekret", "num_workers": 3, "max_retries": 1}},
        {"remote": {"api_url": "https://user:sekret@api.example.com/v1?key=sekret"}},
        {"model": {"model_kwargs": {"n_threads": 3, "kv_unified": True}, "device_map": None}},
        {"batch_size": 4},
        {"conversation": question("hello", conversation_id="x", metadata={"a": 1})},
    ],
)
def test_what_does_not_is_left_out(changed: dict[str, Any]) -> None:
    assert key(**changed) == key()


def test_messages_cannot_run_into_each_other() -> None:
    def of(*contents: str) -> bytes:
        return key(Conversation.from_dict({"messages": [{"role": "user", "content": c} for c in contents]}))

    assert len({of("ab", "c"), of("a", "bc"), of("abc"), of("abc", "")}) == 4


def test_an_images_bytes_count_and_its_path_does_not(tmp_path: Path) -> None:
    def of(path: Path) -> bytes:
        items = [{"type": "image_path", "content": str(path)}]
        return key(Conversation.from_dict({"messages": [{"role": "user", "content": items}]}))

    one, two = tmp_path / "one.png", tmp_path / "two.png"
    one.write_bytes(b"image")
    two.write_bytes(b"image")
    assert of(one) == of(two)
    two.write_bytes(b"other")
    assert of(one) != of(two)


def test_a_key_does_not_change_between_releases() -> None:
    """Scratch files outlive an upgrade: a change of this value re-runs every unfinished job."""
    assert key().hex() == "0260a073e52524b6efd46461572c3871"


def test_ids_tell_repeats_apart() -> None:
    assert row_id(bytes(16), 0) == "0" * 32
    assert row_id(bytes(16), 2) == "0" * 32 + "-2"
