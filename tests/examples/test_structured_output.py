"""examples/structured_output.py: answers that fit a pydantic model."""

from __future__ import annotations

import json

import pytest

from tests.examples.programs import ONE_THREAD, at, needs_smollm2, run_program
from tests.faults import Ask, Fault, FaultServer, says

pytestmark = pytest.mark.slow  # Each test starts a process.


def reply(ask: Ask) -> Fault:
    year = 1815 + len(ask.question)
    text = json.dumps({"name": ask.question[:3], "profession": "writer", "birth_year": year})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return says(json.dumps({"choices": [choice]}).encode())


async def test_schema_is_sent_and_answers_become_objects() -> None:
    async with FaultServer(reply) as server:
        printed = await run_program("structured_output.py", *at(server.url))
    assert [line.split(",")[0] for line in printed.splitlines()] == ["Ada", "Fri", "The"]
    schema = server.asks[0].body["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"]) == {"name", "profession", "birth_year"}


@pytest.mark.model
@needs_smollm2
async def test_default_model_answers_with_the_fields() -> None:
    lines = (await run_program("structured_output.py", *ONE_THREAD)).splitlines()
    assert len(lines) == 3
    assert lines[0] == "Ada Lovelace, mathematician, born in 1815"
