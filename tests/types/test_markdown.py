"""What notebooks show of conversations and results."""

from __future__ import annotations

import base64
import html
import re

import pytest

from asyncinfer import (
    Completion,
    ContentItem,
    Conversation,
    FailureDetail,
    FinishReason,
    InferenceResult,
    Message,
    Role,
    RunSummary,
    StreamDelta,
    Type,
    Usage,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
HOSTILE = "</pre><script>alert(1)</script>\n\n# heading\n```\n![x](http://tracker/a.png) $\\href{javascript:1}{x}$ a|b"


def shown(value: object) -> str:
    return value._repr_markdown_()  # pyright: ignore[reportAttributeAccessIssue]


def text_of(markdown: str) -> list[str]:
    """Return the texts in the blocks, as a browser shows them."""
    return [
        html.unescape(block) for block in re.findall(r"<pre[^>]*>(?:<code>)?(.*?)(?:</code>)?</pre>", markdown, re.S)
    ]


def user(content: object, **more: object) -> Message:
    return Message.model_validate({"role": "user", "content": content, **more})


def test_roles_are_headings_and_texts_are_blocks() -> None:
    chat = Conversation(messages=[user("Hi <b>"), Message(role=Role.ASSISTANT, content="Hello\n\n\nyou")])
    markdown = shown(chat)
    assert re.findall(r"^#+ .*$", markdown, re.MULTILINE) == ["#### user", "#### assistant"]
    assert text_of(markdown) == ["Hi <b>", "Hello\n\n\nyou"]


def test_text_contains_no_markup_of_its_own() -> None:
    markdown = shown(user(HOSTILE, name="a*b*<i>"))
    assert text_of(markdown) == [HOSTILE]
    body = re.sub(r"<pre[^>]*>|</pre>", "", markdown).removeprefix("#### user (").replace("&#", "")
    assert not set(body) & set("<>`*_[]!|$\\")


def test_arguments_of_tool_calls_are_code_without_markup() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": '{"a": "</code></pre><b>`"}'}}
    markdown = shown(Message.model_validate({"role": "assistant", "tool_calls": [call]}))
    assert text_of(markdown) == ['f({"a": "</code></pre><b>`"})']


@pytest.mark.parametrize(
    "item",
    [
        ContentItem(type=Type.IMAGE_BINARY, binary=PNG),
        ContentItem(type=Type.IMAGE_URL, content="data:image/png;base64," + base64.b64encode(PNG).decode()),
    ],
)
def test_image_with_its_bytes_in_the_conversation_is_shown(item: ContentItem) -> None:
    data = base64.b64encode(PNG).decode()
    label, url = re.fullmatch(r"!\[(.*)\]\((.*)\)", shown(item)).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert (html.unescape(label), url) == ("<image/png, 58 bytes>", f"data:image/png;base64,{data}")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (ContentItem(type=Type.IMAGE_PATH, content="a_b.png"), "image_path: <code>a_b.png</code>"),
        (
            ContentItem(type=Type.IMAGE_URL, content="http://u:pw@h/a.png"),
            "image_url: <code>http://**********@h/a.png</code>",
        ),
        (ContentItem(type=Type.DOCUMENT_BINARY, binary=b"%PDF-1"), "<application/pdf, 6 bytes>"),
        (
            ContentItem(type=Type.IMAGE_URL, content="data:image/png;base64,%%%"),
            "image_url: <code>data:image/png;base64,%%%</code>",
        ),
        (ContentItem(type=Type.IMAGE_BINARY, binary=PNG + bytes(5_000_000)), "<image/png, 5.0 MB>"),
        (ContentItem(type=Type.IMAGE_BINARY, binary=b"<svg onload='x'>"), "<image/svg+xml, 16 bytes>"),
    ],
)
def test_other_files_are_described_and_not_loaded(item: ContentItem, text: str) -> None:
    assert html.unescape(shown(item)) == text
    assert "![" not in shown(item)


def test_very_long_text_is_cut_and_has_its_length() -> None:
    [text] = text_of(shown(user("a" * 1_000_000)))
    assert len(text) < 21_000
    assert text.endswith("... 1,000,000 characters in total")


def test_images_of_a_long_conversation_have_a_total_limit() -> None:
    picture = ContentItem(type=Type.IMAGE_BINARY, binary=PNG + bytes(1_000_000))
    markdown = shown(Conversation(messages=[user([picture]) for _ in range(50)]))
    assert markdown.count("![") == 7
    assert len(markdown) < 11_000_000
    assert html.unescape(markdown).count("<image/png, 1.0 MB>") == 50


def test_texts_of_a_long_conversation_have_a_total_limit() -> None:
    markdown = shown(Conversation(messages=[user("a" * 15_000) for _ in range(1_000)]))
    assert markdown.count("a" * 15_000) == 33
    assert "... 15,000 characters in total" in text_of(markdown)[33]
    assert markdown.endswith("*966 more messages*")


def test_very_long_url_is_cut() -> None:
    assert len(shown(ContentItem(type=Type.IMAGE_URL, content="data:image/png;base64," + "%" * 1_000_000))) < 21_000


def test_very_long_arguments_of_a_tool_call_are_cut() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": "a" * 1_000_000}}
    assert len(shown(Message.model_validate({"role": "assistant", "tool_calls": [call]}))) < 21_000


def test_surrogates_are_replaced_because_no_notebook_can_save_them() -> None:
    chat = Conversation(messages=[user("a\ud800b", name="c\udfff")])
    assert text_of(shown(chat)) == ["a\ufffdb"]
    assert shown(chat).encode()


def test_completion_has_its_finish_reason_and_usage() -> None:
    markdown = shown(Completion(Message(role=Role.ASSISTANT, content="b"), FinishReason.STOP, Usage(1, 2, 3)))
    assert "| finish reason | stop |" in markdown
    assert "| completion&#95;tokens | 2 |" in markdown


def test_delta_is_its_text() -> None:
    assert text_of(shown(StreamDelta("<b>"))) == ["<b>"]


def test_result_has_its_counts_and_first_failures() -> None:
    failures = {index: FailureDetail("no <i>|") for index in range(30)}
    markdown = shown(InferenceResult([], failures))
    assert "| failed | 30 |" in markdown
    assert "- row 9: no &#60;i&#62;&#124;" in markdown
    assert markdown.endswith("- 20 more")


def test_summary_has_its_counts() -> None:
    summary = RunSummary(4, 3, 1, 0, Usage(5, 6, 11), 1.25, [(2, FailureDetail("no"))])
    markdown = shown(summary)
    assert "| failed | 1 |" in markdown
    assert "| tokens | 5 in, 6 out |" in markdown
    assert markdown.endswith("- row 2: no")


def test_conversation_without_messages_says_so() -> None:
    assert shown(Conversation(messages=[])) == "*no messages*"
