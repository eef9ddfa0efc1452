"""Which settings and which parts of a conversation change a row's key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import (
    BaseInferenceEngine,
    Conversation,
    GenerationParams,
    GuidedDecodingParams,
    LlamaCppInferenceEngine,
    ModelParams,
    NativeTextInferenceEngine,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    VLLMInferenceEngine,
)
from asyncinfer.scratch.keys import RowKeys, row_key_text
from tests.fakes import question

HELLO = question("hello")


def key(
    conversation: Conversation = HELLO,
    engine: str = "REMOTE",
    model: dict[str, Any] | None = None,
    remote: dict[str, Any] | None = None,
    unhashed: frozenset[str] = frozenset(),
    **generation: Any,
) -> bytes:
    keys = RowKeys(
        engine,
        ModelParams.model_validate({"model_name": "m", **(model or {})}),
        GenerationParams.model_validate(generation),
        RemoteParams.model_validate({"api_url": "https://api.example.com/v1", **(remote or {})}),
        unhashed_model_kwargs=unhashed,
    )
    return keys(conversation)


def key_for(engine: type[BaseInferenceEngine], **options: Any) -> bytes:
    """The key of a row for a local engine with these `model_kwargs`."""
    unhashed = engine.unhashed_model_kwargs
    return key(engine=str(engine.engine_type), model={"model_kwargs": options}, unhashed=unhashed)


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
def test_setting_that_determines_the_answer_changes_the_key(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


@pytest.mark.parametrize(
    "changed",
    [
        {"remote": {"api_key": "sekret", "num_workers": 3, "max_retries": 1}},
        {"remote": {"api_url": "https://user:sekret@api.example.com/v1?key=sekret"}},
        {"remote": {"headers": {"X-Team": "sekret"}}},
        {"remote": {"adaptive": {"max_concurrency": 20, "concurrency_step": 1}}},
        {"model": {"device_map": None}},
        {"batch_size": 4},
        {"conversation": question("hello", conversation_id="x", metadata={"a": 1})},
    ],
)
def test_setting_that_does_not_change_the_answer_does_not_change_the_key(changed: dict[str, Any]) -> None:
    assert key(**changed) == key()


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        (LlamaCppInferenceEngine, {"n_threads": 3, "kv_unified": True, "n_gpu_layers": -1, "verbose": True}),
        (VLLMInferenceEngine, {"gpu_memory_utilization": 0.5, "max_num_seqs": 4, "tensor_parallel_size": 2}),
        (NativeTextInferenceEngine, {"device_map": {"": 0}, "cache_dir": "models"}),
    ],
)
def test_unhashed_options_of_an_engine_do_not_change_its_keys(
    engine: type[BaseInferenceEngine], options: dict[str, Any]
) -> None:
    assert options.keys() <= engine.unhashed_model_kwargs
    assert key_for(engine, **options) == key_for(engine)
    assert key_for(engine, **options, n_ctx=8) == key_for(engine, n_ctx=8) != key_for(engine)


@pytest.mark.parametrize("engine", [RemoteInferenceEngine, OpenAIInferenceEngine])
def test_every_option_of_a_remote_engine_changes_the_key(engine: type[BaseInferenceEngine]) -> None:
    assert key_for(engine, n_threads=3) != key_for(engine)


def test_all_forms_of_a_schema_have_the_same_key() -> None:
    class Product(BaseModel):
        name: str

    schema = Product.model_json_schema()
    forms = [Product, schema, GuidedDecodingParams(json=schema).model_dump_json(include={"json"})[len('{"json":') : -1]]
    assert len({key(guided_decoding={"json": form}) for form in forms}) == 1


def test_texts_of_two_messages_are_kept_apart() -> None:
    def of(*contents: str) -> bytes:
        return key(Conversation.from_dict({"messages": [{"role": "user", "content": c} for c in contents]}))

    assert len({of("ab", "c"), of("a", "bc"), of("abc"), of("abc", "")}) == 4


def test_bytes_of_an_image_change_the_key_and_its_path_does_not(tmp_path: Path) -> None:
    def of(path: Path) -> bytes:
        items = [{"type": "image_path", "content": str(path)}]
        return key(Conversation.from_dict({"messages": [{"role": "user", "content": items}]}))

    one, two = tmp_path / "one.png", tmp_path / "two.png"
    one.write_bytes(b"image")
    two.write_bytes(b"image")
    assert of(one) == of(two)
    two.write_bytes(b"other")
    assert of(one) != of(two)


def test_key_does_not_change_between_releases() -> None:
    """Scratch files outlive an upgrade. If this value changes, every unfinished run sends all rows again."""
    assert key().hex() == "0260a073e52524b6efd46461572c3871"


def test_rows_with_the_same_key_get_different_ids() -> None:
    assert row_key_text(bytes(16), 0) == "0" * 32
    assert row_key_text(bytes(16), 2) == "0" * 32 + "-2"
