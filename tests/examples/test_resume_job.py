"""examples/resume_job.py: a job that is killed, and goes on."""

from __future__ import annotations

import pytest

from tests.examples.programs import at, run_program
from tests.faults import FaultServer

pytestmark = pytest.mark.slow  # Each test starts a process.


async def test_no_saved_row_is_sent_again_after_a_kill() -> None:
    async with FaultServer() as server:
        printed = await run_program("resume_job.py", *at(server.url), "remote_params.num_workers=1")
    first, second, third = printed.splitlines()
    assert first == "first run: ended with exit code 1, and wrote no output: True"
    saved, sent = (int(word) for word in second.split() if word.isdigit())
    assert saved + sent == 40
    assert saved >= 20
    # What was answered but not yet saved when the process ended is sent again. Saved rows are not.
    assert len(server.asks) - sent >= saved
    assert sum(count > 1 for count in server.asked.values()) <= 40 - saved
    assert third == "40 lines in answers.jsonl"
