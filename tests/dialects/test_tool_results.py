"""Images and documents in the results of tools: sent there where the API accepts them, otherwise after the results."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, Message, ModelParams
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Files, Quirks
from asyncinfer.dialects.tool_results import IN_NEXT_MESSAGE, with_files_after_results
from asyncinfer.errors import RequestError
from tests.dialects.openai.test_request import PNG, PNG_URL

Json = dict[str, Any]
IMAGE: Json = {"type": "image_binary", "binary": PNG}
PDF: Json = {"type": "document_binary", "binary": b"%PDF-1.7"}
LINK: Json = {"type": "image_url", "content": "https://x.example/a.png"}
ASKED: Json = {"role": "user", "content": "What do you see?"}
CHAT_IMAGE: Json = {"type": "image_url", "image_url": {"url": PNG_URL}}
DATA = base64.b64encode(PNG).decode()


def called(*ids: str) -> Json:
    calls = [{"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(id: str, *content: Json | str) -> Json:
    return {
        "role": "tool",
        "tool_call_id": id,
        "content": [text(one) if isinstance(one, str) else one for one in content],
    }


def text(content: str) -> Json:
    return {"type": "text", "text": content}


def body(dialect: Dialect, *messages: Json, model: str = "m") -> Json:
    settings = EncoderSettings(f"https://x.example{dialect.path}", ModelParams(model_name=model), GenerationParams())
    conversation = Conversation.from_dict({"messages": list(messages)})
    return json.loads(dialect.encoder_for(settings)(conversation).body or b"")


@pytest.mark.parametrize("dialect", [openai_chat(), VERTEX, GEMINI], ids=["OpenAI", "Vertex", "Gemini 2"])
def test_openai_format_has_images_of_tool_results_after_the_results(dialect: Dialect) -> None:
    sent = body(
        dialect, ASKED, called("a", "b"), result("a", "A cat.", IMAGE), result("b", IMAGE), model="gemini-2.5-pro"
    )
    assert sent["messages"][2:] == [
        {"role": "tool", "tool_call_id": "a", "content": [text("A cat.")]},
        {"role": "tool", "tool_call_id": "b", "content": IN_NEXT_MESSAGE},
        {
            "role": "user",
            "content": [text("Result of call a of look:"), CHAT_IMAGE, text("Result of call b of look:"), CHAT_IMAGE],
        },
    ]


def test_tool_results_stay_adjacent_when_their_images_are_moved_after_them() -> None:
    sent = body(openai_chat(), ASKED, called("a", "b"), result("a", IMAGE), result("b", "Empty."), ASKED)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert sent["messages"][-1]["content"] == ASKED["content"]


def test_moved_images_join_the_next_user_message_if_roles_must_alternate() -> None:
    dialect = openai_chat(Quirks(merges_messages=True))
    sent = body(dialect, ASKED, called("a"), result("a", IMAGE), ASKED)
    assert [part["type"] for part in sent["messages"][-1]["content"]] == ["text", "image_url", "text"]


def test_openai_format_has_documents_of_tool_results_after_the_results() -> None:
    sent = body(openai_chat(), ASKED, called("a"), result("a", PDF))
    assert [part["type"] for part in sent["messages"][-1]["content"]] == ["text", "file"]


def test_images_in_tool_results_are_refused_if_the_server_reads_no_images() -> None:
    with pytest.raises(RequestError, match="does not accept images"):
        body(openai_chat(Quirks(images=Files.NONE)), ASKED, called("a"), result("a", IMAGE))


def test_anthropic_gets_images_and_documents_within_tool_results() -> None:
    sent = body(ANTHROPIC_MESSAGES, ASKED, called("a"), result("a", "A cat.", IMAGE, PDF, LINK))
    [block] = sent["messages"][-1]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image", "document", "image"]


def test_bedrock_gets_images_and_documents_within_tool_results() -> None:
    sent = body(BEDROCK_CONVERSE, ASKED, called("a"), result("a", "A cat.", IMAGE, PDF))
    [block] = sent["messages"][-1]["content"]
    assert [[*part] for part in block["toolResult"]["content"]] == [["text"], ["image"], ["document"]]


def test_gemini_3_gets_inline_files_within_tool_results_and_other_files_after_them() -> None:
    sent = body(GEMINI, ASKED, called("a"), result("a", "A cat.", IMAGE, PDF, LINK), model="gemini-3.5-pro")
    [results, others] = sent["contents"][-2:]
    [part] = results["parts"]
    assert part["functionResponse"]["response"] == {"output": "A cat."}
    files = [one["inlineData"]["mimeType"] for one in part["functionResponse"]["parts"]]
    assert files == ["image/png", "application/pdf"]
    assert [[*one] for one in others["parts"]] == [["text"], ["fileData"]]


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-flash-latest"])
def test_gemini_before_version_3_gets_images_after_tool_results(model: str) -> None:
    sent = body(GEMINI, ASKED, called("a"), result("a", "A cat.", LINK), model=model)
    [results, others] = sent["contents"][-2:]
    assert "parts" not in results["parts"][0]["functionResponse"]
    assert [[*one] for one in others["parts"]] == [["text"], ["fileData"]]


def test_conversation_without_files_in_tool_results_is_unchanged() -> None:
    messages = [Message.model_validate(one) for one in (ASKED, called("a"), result("a", "A cat."))]
    assert with_files_after_results(messages) is messages


def test_moved_file_of_an_unknown_call_has_a_heading_with_the_id_of_the_call() -> None:
    moved = with_files_after_results([Message.model_validate(result("a", IMAGE))])
    assert moved[-1].content_items[0].content == "Result of call a:"
