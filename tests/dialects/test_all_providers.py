"""What each provider of the catalog gets for the same conversation."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from asyncinfer import Conversation, GenerationParams, ModelParams
from asyncinfer import InferenceEngineType as Engine
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.providers.catalog import CATALOG

Json = dict[str, Any]

ACCEPT_BLANK_TEXTS = (Engine.REMOTE_LLAMACPP, Engine.REMOTE_VLLM)
ALTERNATING = (
    Engine.ANTHROPIC,
    Engine.BEDROCK,
    Engine.GOOGLE_GEMINI,
    Engine.GOOGLE_VERTEX,
    *ACCEPT_BLANK_TEXTS,
)
# vLLM, SGLang and llama.cpp read these images themselves.
READ_BITMAPS = (Engine.REMOTE_LLAMACPP, Engine.REMOTE_VLLM, Engine.SGLANG)


def body(engine: str, *messages: Json, **generation: Any) -> Json:
    """The body of a request."""
    settings = EncoderSettings(
        "http://api/v1/chat/completions", ModelParams(model_name="m"), GenerationParams(**generation)
    )
    encode = CATALOG[engine].dialect.encoder_for(settings)
    return json.loads(encode(Conversation.from_dict({"messages": list(messages)})).body)


def said(role: str, content: Any) -> Json:
    return {"role": role, "content": content}


def roles(sent: Json) -> list[str]:
    return [message["role"] for message in sent.get("messages") or sent["contents"]]


TWICE = [said("user", "a"), said("user", "b"), said("assistant", "c"), said("assistant", "d"), said("user", "e")]


@pytest.mark.parametrize("engine", ALTERNATING)
def test_adjacent_messages_are_merged_where_roles_must_alternate(engine: Engine) -> None:
    sent = body(engine, *TWICE)
    assert roles(sent) == ["user", "assistant", "user"]
    assert [text in json.dumps(sent["messages"]) for text in "abcde"] == [True] * 5


def test_adjacent_messages_are_merged_for_gemini_s_own_api() -> None:
    assert roles(body(Engine.GOOGLE_GEMINI, *TWICE, seed=1)) == ["user", "model", "user"]


@pytest.mark.parametrize("engine", sorted(CATALOG.keys() - set(ALTERNATING)))
def test_adjacent_messages_stay_apart_elsewhere(engine: str) -> None:
    assert body(engine, *TWICE)["messages"] == TWICE


BLANK = [
    said("system", " "),
    said("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "\n"}]),
    said("assistant", ""),
    said("user", "b"),
]


@pytest.mark.parametrize("engine", [engine for engine in ALTERNATING if engine not in ACCEPT_BLANK_TEXTS])
def test_blank_texts_are_left_out_where_they_are_refused(engine: Engine) -> None:
    sent = body(engine, *BLANK)
    assert roles(sent) == ["user"]
    assert "system" not in sent
    assert json.dumps(sent["messages"]).count('"text": ') == 2


def bitmap() -> str:
    buffer = BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "BMP")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("item", ["binary", "url"])
@pytest.mark.parametrize("engine", CATALOG)
def test_bitmap_is_sent_as_an_image_that_the_api_accepts(engine: str, item: str) -> None:
    data = bitmap()
    # The label is wrong.
    url = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
    sent = json.dumps(
        body(engine, said("user", [{"type": "image_binary", "binary": data} if item == "binary" else url]))
    )
    expected = "image/bmp" if engine in READ_BITMAPS else '"format": "png"' if engine == Engine.BEDROCK else "image/png"
    assert expected in sent
    assert (data in sent) == (engine in READ_BITMAPS)
