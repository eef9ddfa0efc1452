"""Runs with a report, for tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from asyncinfer import InferenceConfig, InferenceErrorType, RequestError
from asyncinfer.aio.limiters import DISK
from asyncinfer.report.record import RunRecord
from asyncinfer.report.storage import load_record
from tests.fakes import FakeEngine, questions, refusal, rejection

HOSTILE = "<script>document.title = 'hacked'</script><img src=x onerror=\"document.title = 'hacked'\">\0\x1b[31m"


def settings(folder: Path, **more: object) -> InferenceConfig:
    """The settings of a run that saves its events and writes a report."""
    return InferenceConfig.model_validate(
        {
            "output_path": str(folder / "out.jsonl"),
            "report_path": str(folder / "report.html"),
            "save_events": True,
            **more,
        }
    )


def hostile_script(text: str, attempt: int) -> None:
    """Let a few rows fail, with messages that a page must escape."""
    number = int(text.split()[-1])
    if number == 3:
        raise rejection()
    if number % 5 == 1 and attempt == 1:
        raise refusal(0.001)
    if number == 7:
        raise RequestError(HOSTILE, error_type=InferenceErrorType.API_STATUS, status_code=400)


async def run_hostile_job(folder: Path, rows: int = 20) -> Path:
    """Run a job whose prompts, answers and errors are hostile. Returns the path of the report."""
    asked = questions(rows)
    for one in asked:
        one.messages[0:0] = [one.messages[0].model_copy(update={"content": HOSTILE})]
    await FakeEngine(hostile_script).ainfer_partial(asked, settings(folder))
    return folder / "report.html"


async def record_in(folder: Path) -> RunRecord:
    return await DISK.run(load_record, folder / "out.jsonl")


def figures_of(page: str) -> dict[str, Any]:
    """The figures in a page, by name."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return {figure["name"]: figure for figure in json.loads(found[1])}
