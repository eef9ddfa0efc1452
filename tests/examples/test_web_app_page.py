"""examples/web_app.html: the page of the FastAPI application, in a headless browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.browser import CHROMIUM, Page, open_page
from tests.examples.test_web_app import serving
from tests.faults import FaultServer, Script, sse, stall, status

pytest.importorskip("fastapi.sse", reason="needs fastapi 0.135 or newer")
pytestmark = [
    pytest.mark.slow,  # Each test starts a browser.
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]

ANSWERED = "!document.getElementById('send').disabled"


@asynccontextmanager
async def open_chat(folder: Path, script: Script) -> AsyncGenerator[tuple[FaultServer, Page]]:
    async with serving(folder, script) as (model, url, _), open_page(url, folder / "profile") as page:
        yield model, page


async def send(page: Page, question: str) -> None:
    await page.run(f"""
        document.getElementById("question").value = {question!r};
        document.getElementById("send").click();
    """)


async def shown(page: Page) -> list[list[str]]:
    """The kinds and the texts of the messages on the page."""
    return await page.run("""
        return [...document.querySelectorAll(".message")].map((element) => [element.classList[1], element.textContent]);
    """)


async def test_page_shows_the_chat_and_sends_all_of_it(tmp_path: Path) -> None:
    async with open_chat(tmp_path, lambda _: sse(["<b>Par", "is</b>\n\n"])) as (model, page):
        for question in ("What is the capital of France?", "Are you sure?"):
            await send(page, question)
            await page.wait_for(ANSWERED)
        messages = await shown(page)
    assert messages == [
        ["user", "What is the capital of France?"],
        ["assistant", "<b>Paris</b>\n\n"],
        ["user", "Are you sure?"],
        ["assistant", "<b>Paris</b>\n\n"],
    ]
    assert [message["role"] for message in model.asks[-1].body["messages"]] == ["system", "user", "assistant", "user"]


async def test_chat_goes_on_after_long_answers_and_many_messages(tmp_path: Path) -> None:
    answers = iter(["a" + "\N{GRINNING FACE}" * 6_000])
    async with open_chat(tmp_path, lambda _: sse([next(answers, "Paris")])) as (model, page):
        for number in range(53):
            await send(page, f"question {number}")
            await page.wait_for(ANSWERED)
        messages = await shown(page)
    assert [kind for kind, _ in messages] == ["user", "assistant"] * 53
    asked = [ask.body["messages"] for ask in model.asks]
    assert asked[1][2]["content"] == "a" + "\N{GRINNING FACE}" * 4_999 + "\ufffd"
    assert (len(asked[-1]), asked[-1][1]["content"]) == (100, "question 3")


async def test_stop_button_ends_the_request_to_the_model(tmp_path: Path) -> None:
    async with open_chat(tmp_path, lambda _: sse(["Par"], stall)) as (model, page):
        await send(page, "What is the capital of France?")
        await page.wait_for("document.querySelector('.assistant')?.textContent === 'Par'")
        await page.run("document.getElementById('stop').click();")
        await model.until(lambda: model.abandoned == 1)
        await page.wait_for(ANSWERED)
        assert await shown(page) == [["user", "What is the capital of France?"], ["assistant", "Par"]]


async def test_closed_browser_ends_the_request_to_the_model(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda _: sse(["Par"], stall)) as (model, url, _):
        async with open_page(url, tmp_path / "profile") as page:
            await send(page, "What is the capital of France?")
            await page.wait_for("document.querySelector('.assistant')?.textContent === 'Par'")
        await model.until(lambda: model.abandoned == 1)


async def test_failure_is_shown(tmp_path: Path) -> None:
    async with open_chat(tmp_path, lambda _: status(400)) as (_, page):
        await send(page, "Hello!")
        await page.wait_for(ANSWERED)
        assert await shown(page) == [["user", "Hello!"], ["failed", "The model did not answer. Please try again."]]
