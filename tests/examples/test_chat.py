"""examples/chat.py: streaming chat in a script."""

from __future__ import annotations

import pytest

from tests.examples.programs import ONE_THREAD, at, needs_smollm2, run_program
from tests.faults import FaultServer, sse

pytestmark = pytest.mark.slow  # Each test starts a process.


async def test_model_sees_the_earlier_turns_of_the_chat() -> None:
    async with FaultServer(lambda _: sse(["Par", "is"])) as server:
        printed = await run_program("chat.py", *at(server.url), stdin="What is the capital of France?\nAre you sure?\n")
    assert printed == "> Paris\n> Paris\n> \n"
    sent = [(message["role"], message["content"]) for message in server.asks[-1].body["messages"]]
    assert sent == [
        ("system", "You are a helpful assistant."),
        ("user", "What is the capital of France?"),
        ("assistant", "Paris"),
        ("user", "Are you sure?"),
    ]


@pytest.mark.model
@needs_smollm2
async def test_chat_with_the_default_model() -> None:
    settings = ("generation.max_new_tokens=16", *ONE_THREAD)
    assert "Paris" in await run_program("chat.py", *settings, stdin="What is the capital of France?\n")
