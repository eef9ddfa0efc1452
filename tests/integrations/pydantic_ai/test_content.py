"""What users and tools send besides texts: images, PDF documents and text files."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic_ai import Agent, ToolReturn
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import AudioUrl, BinaryContent, CachePoint, DocumentUrl, ImageUrl, TextContent, UserContent

from asyncinfer import CerebrasInferenceEngine, ModelParams, RemoteParams
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from tests.file_server import FileServer
from tests.integrations.scripted_chat import ScriptedChat, calls, text
from tests.recorder import MESSAGE, Recorder

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.7 a document"
IMAGE_URL = "https://example.com/cat.png"


async def sent(chat: ScriptedChat, model: AsyncInferModel, *content: UserContent) -> list[dict[str, Any]]:
    """The items of the user's message."""
    chat.script += [text("Seen.")]
    await Agent(model).run(content)
    return chat.bodies[-1]["messages"][-1]["content"]


async def test_image_of_bytes_is_sent_inline(chat: ScriptedChat, model: AsyncInferModel) -> None:
    image = BinaryContent(PNG, media_type="image/png", vendor_metadata={"detail": "low"})
    question, item = await sent(chat, model, "What is this?", image)
    assert question == {"type": "text", "text": "What is this?"}
    assert item["image_url"]["detail"] == "low"
    assert item["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


async def test_image_url_is_sent_unchanged(chat: ScriptedChat, model: AsyncInferModel) -> None:
    [item] = await sent(chat, model, ImageUrl(IMAGE_URL))
    assert item["image_url"]["url"] == IMAGE_URL


async def test_image_url_with_force_download_is_downloaded(chat: ScriptedChat, model: AsyncInferModel) -> None:
    with FileServer({"/cat.png": PNG}) as files:
        [item] = await sent(chat, model, ImageUrl(f"{files.url}/cat.png", force_download="allow-local"))
    assert item["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


async def test_image_url_is_downloaded_if_the_api_fetches_none(chat: ScriptedChat) -> None:
    remote = RemoteParams(chat.url, api_key="k")
    async with CerebrasInferenceEngine(ModelParams("m"), remote_params=remote) as engine:
        with pytest.raises(ValueError, match="private"):  # pydantic-ai downloads only from public addresses.
            await Agent(AsyncInferModel(engine)).run([ImageUrl("http://127.0.0.1:1/cat.png")])


async def test_pdf_document_is_sent_inline(chat: ScriptedChat, model: AsyncInferModel) -> None:
    [item] = await sent(chat, model, BinaryContent(PDF, media_type="application/pdf"))
    assert item["type"] == "file"
    assert item["file"]["file_data"] == f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"


async def test_text_file_becomes_text(chat: ScriptedChat, model: AsyncInferModel) -> None:
    [item] = await sent(chat, model, BinaryContent(b"a,b\n1,2", media_type="text/csv", identifier="table"))
    assert item["type"] == "text"
    assert "a,b\n1,2" in item["text"]
    assert "table" in item["text"]


async def test_text_document_behind_a_url_becomes_text(chat: ScriptedChat, model: AsyncInferModel) -> None:
    with FileServer({"/notes.md": b"# Notes"}) as files:
        [item] = await sent(chat, model, DocumentUrl(f"{files.url}/notes.md", force_download="allow-local"))
    assert "# Notes" in item["text"]


async def test_audio_is_an_error_that_names_the_accepted_kinds(chat: ScriptedChat, model: AsyncInferModel) -> None:
    with pytest.raises(UserError, match="AudioUrl cannot be sent"):
        await sent(chat, model, AudioUrl("https://example.com/a.mp3"))


async def test_tagged_text_is_sent_as_text(chat: ScriptedChat, model: AsyncInferModel) -> None:
    items = await sent(chat, model, TextContent("Hello."), CachePoint())
    assert items == [{"type": "text", "text": "Hello."}]


async def test_cache_point_marks_the_item_before_it(api: Recorder, claude: AsyncInferModel) -> None:
    await Agent(claude).run(["A long text.", CachePoint(ttl="1h"), "A question."])
    marked, question = api.sent[0].body["messages"][0]["content"]
    assert marked["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in question


async def test_image_of_a_tool_is_in_its_result(api: Recorder, claude: AsyncInferModel) -> None:
    def photo() -> list[Any]:
        return ["Here it is.", BinaryContent(PNG, media_type="image/png")]

    use = {"type": "tool_use", "id": "toolu_1", "name": "photo", "input": {}}
    api.answers_in_turn({**MESSAGE, "content": [use], "stop_reason": "tool_use"}, MESSAGE)
    await Agent(claude, tools=[photo]).run("?")
    [result] = api.sent[1].body["messages"][-1]["content"]
    assert [block["type"] for block in result["content"]] == ["text", "image"]


async def test_tool_return_with_extra_content_adds_a_user_message(chat: ScriptedChat, model: AsyncInferModel) -> None:
    def photo() -> ToolReturn:
        return ToolReturn(return_value="Done.", content=["This is it:", BinaryContent(PNG, media_type="image/png")])

    chat.script += [calls(photo={}), text("Seen.")]
    await Agent(model, tools=[photo]).run("?")
    result, added = chat.bodies[1]["messages"][-2:]
    assert (result["role"], result["content"]) == ("tool", "Done.")
    assert (added["role"], [item["type"] for item in added["content"]]) == ("user", ["text", "image_url"])
