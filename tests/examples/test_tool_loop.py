"""examples/tool_loop.py: a loop that runs the functions that a model calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.examples.programs import ONE_THREAD, at, needs_smollm2, run_program
from tests.faults import Ask, Fault, FaultServer, says

pytestmark = pytest.mark.slow  # Each test starts a process.


def message(content: str | None = None, calls: list[dict[str, Any]] | None = None) -> Fault:
    answer = {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}
    reason = "tool_calls" if calls else "stop"
    return says(json.dumps({"choices": [{"index": 0, "message": answer, "finish_reason": reason}]}).encode())


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call-{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def reply(ask: Ask) -> Fault:
    """First a call of the wrong function next to the right one, then a text."""
    if ask.body["messages"][-1]["role"] == "user":
        calls = [call("get_wether", '{"city": "Rome"}'), call("get_weather", '{"city": "Paris"}')]
        return message(calls=calls)
    return message("It is sunny in Paris.")


async def test_results_and_mistakes_are_sent_back_to_the_model() -> None:
    async with FaultServer(reply) as server:
        printed = await run_program("tool_loop.py", *at(server.url))
    assert printed.splitlines()[-1] == "It is sunny in Paris."
    first, second = server.asks
    assert first.body["tools"][0]["function"]["name"] == "get_weather"
    assert first.body["tool_choice"] == "auto"
    wrong, right = second.body["messages"][-2:]
    assert (wrong["role"], wrong["tool_call_id"]) == ("tool", "call-get_wether")
    assert "get_wether" in wrong["content"]
    assert right["content"] == "It is sunny in Paris, at 24 degrees Celsius."


@pytest.mark.model
@needs_smollm2
async def test_loop_with_the_default_model() -> None:
    call, answer = (await run_program("tool_loop.py", *ONE_THREAD)).splitlines()
    assert call == 'get_weather({"city": "Paris"}) -> It is sunny in Paris, at 24 degrees Celsius.'
    assert "24" in answer
