"""Which fields and parts of messages a request to `/v1/chat/completions` may have."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.chat_messages import read_message, read_tool
from tests.serve.serving import QUESTION, ScriptedEngine, serving

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PRIVATE = "http://169.254.169.254/x.png"
SIGNATURE = {"google": {"thought_signature": "signed"}}


def read(**fields: Any) -> dict[str, Any]:
    return read_message("messages[0]", {"role": "assistant", "content": "Hi.", **fields})


def user(part: Any) -> dict[str, Any]:
    [item] = read_message("messages[0]", {"role": "user", "content": [part]})["content"]
    return item


class TestKeptFields:
    """Fields of earlier answers that clients send back."""

    def test_signed_reasoning_is_kept(self) -> None:
        thinking = [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"},
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "d"}},
        ]
        details = [{"type": "reasoning.encrypted", "id": "r", "format": "f", "index": 0, "data": "d"}]
        items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}]
        kept = {"thinking_blocks": thinking, "reasoning_details": details, "reasoning_items": items}
        kept |= {"reasoning_content": "Hm.", "phase": "commentary", "extra_content": SIGNATURE}
        assert read(**kept) == {"role": "assistant", "content": "Hi.", **kept}

    @pytest.mark.parametrize(
        "fields",
        [
            {"thinking_blocks": [{"type": "image", "source": {"type": "url", "url": PRIVATE}}]},
            {"thinking_blocks": [{"type": "document", "source": {"type": "file", "file_id": "file_other"}}]},
            {"thinking_blocks": [{"image": {"source": {"s3Location": {"uri": "s3://other"}}}}]},
            {"reasoning_items": [{"type": "item_reference", "id": "msg_other_customer"}]},
            {"output_items": [{"type": "computer_call_output", "output": {"image_url": PRIVATE}}]},
            {"output_items": [{"type": "x_call", "url": PRIVATE}]},
            {"reasoning_details": [{"type": "image", "image_url": PRIVATE}]},
            {"extra_content": {"google": {"file_uri": PRIVATE}}},
            {"images": [{"type": "image_url", "image_url": {"url": PRIVATE}}]},
            {"audio": {"id": "audio_other"}},
            {"unknown": PRIVATE},
        ],
    )
    def test_blocks_and_fields_that_answers_do_not_have_are_ignored(self, fields: dict[str, Any]) -> None:
        assert read(**fields) == {"role": "assistant", "content": "Hi."}

    def test_further_fields_of_blocks_are_ignored(self) -> None:
        block = {"type": "thinking", "thinking": "Hm.", "signature": "s", "source": {"url": PRIVATE}, "url": PRIVATE}
        assert read(thinking_blocks=[block])["thinking_blocks"] == [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"}
        ]

    def test_user_has_no_fields_of_answers(self) -> None:
        given = {"role": "user", "content": "Hi.", "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}
        assert read_message("messages[0]", given) == {"role": "user", "content": "Hi."}


class TestCalls:
    def test_signature_of_a_call_is_kept_and_other_fields_are_not(self) -> None:
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        given = {**call, "extra_content": {**SIGNATURE, "url": PRIVATE}, "url": PRIVATE, "index": 0}
        assert read(content=None, tool_calls=[given])["tool_calls"] == [{**call, "extra_content": SIGNATURE}]

    def test_result_of_a_tool_says_whether_it_failed(self) -> None:
        result = {"role": "tool", "content": "no", "tool_call_id": "1", "is_error": True}
        assert read_message("messages[0]", {**result, "url": PRIVATE}) == result

    def test_further_fields_of_a_tool_are_ignored(self) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
        given = {**tool, "server_url": PRIVATE, "function": {**tool["function"], "url": PRIVATE}}  # pyright: ignore[reportGeneralTypeIssues]
        assert read_tool(given) == tool


class TestRefusals:
    def test_refusal_without_content_is_the_content(self) -> None:
        assert read(content=None, refusal="No.") == {"role": "assistant", "content": "No."}

    def test_refusal_beside_a_content_is_ignored(self) -> None:
        assert read(refusal=None) == {"role": "assistant", "content": "Hi."}
        assert read(refusal="No.") == {"role": "assistant", "content": "Hi."}

    async def test_answer_of_the_openai_sdk_with_a_refusal_can_be_sent_back(self) -> None:
        engine = ScriptedEngine()
        history = [*QUESTION, {"role": "assistant", "content": None, "refusal": "No."}, *QUESTION]
        async with serving(engine) as server:
            assert (await server.chat(messages=history))[0] == 200
        assert engine.asked[0][0].messages[1].content == "No."


class TestParts:
    def test_text_has_a_text_and_may_mark_the_cached_prompt(self) -> None:
        mark = {"type": "ephemeral", "ttl": "1h"}
        part = {"type": "text", "text": "Hi.", "cache_control": {**mark, "url": PRIVATE}, "image_url": PRIVATE}
        assert user(part) == {"type": "text", "content": "Hi.", "cache_control": mark}

    def test_image_has_its_detail(self) -> None:
        image = {"url": PIXEL, "detail": "low", "file_id": "file-other"}
        expected = {"type": "image_url", "content": PIXEL, "detail": "low"}
        assert user({"type": "image_url", "image_url": image, "uuid": "of-another-client"}) == expected

    def test_image_may_be_a_string(self) -> None:
        assert user({"type": "image_url", "image_url": PIXEL})["content"] == PIXEL

    def test_file_has_its_name(self) -> None:
        file = {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}
        expected = {"type": "document_url", "content": file["file_data"], "filename": "a.pdf"}
        assert user({"type": "file", "file": {**file, "url": PRIVATE}}) == expected

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "file_id": "file-other"}},
            {"type": "file", "file": {"file_id": "file-other"}},
            {"type": "file"},
            {"type": "image_url"},
            {"type": "image_url", "image_url": {"url": None}},
            {"type": "image_url", "content": PIXEL},
            {"type": "image_binary", "binary": "R0lGODlhAQABAA=="},
            {"type": "video_url", "video_url": {"url": PRIVATE}},
            {"type": "thinking", "thinking": []},
            {"type": ["text"]},
            {"text": "Hi."},
            "Hi.",
            None,
        ],
    )
    def test_other_parts_are_refused(self, part: Any) -> None:
        with pytest.raises(ApiError) as refused:
            user(part)
        assert (refused.value.status, refused.value.param) == (400, "messages[0].content[0]")


async def test_images_in_earlier_answers_count() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "R0lGODlhAQABAA=="}
    answer = {"role": "assistant", "content": "Look.", "output_items": [item]}
    async with serving(ScriptedEngine(), max_images=2) as server:
        assert (await server.chat(messages=[*QUESTION, *[answer] * 2]))[0] == 200
        status, body = await server.chat(messages=[*QUESTION, *[answer] * 3])
    assert (status, body["error"]["param"]) == (400, "messages")
