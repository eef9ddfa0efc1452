"""Resume a job that was killed: no answered row is sent again.

    python examples/resume_job.py                                                # SmolLM2, in this process
    python examples/resume_job.py engine=OPENAI model.model_name=gpt-5-mini      # the key is in OPENAI_API_KEY

The first run is a process of its own that kills itself when half of the forty questions are answered. The second run
has the same settings. It finds the saved answers, and sends only the other questions.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from asyncinfer import InferenceConfig, RowFinished, RunEvent, RunSummary, build_engine

FOLDER = Path(__file__).parent
QUESTIONS = FOLDER / "data" / "questions.jsonl"


def settings(output: Path, overrides: Sequence[str]) -> InferenceConfig:
    """Both runs have these settings. Another model, for example, would send all rows again."""
    paths = [f"input_path={QUESTIONS}", f"output_path={output}", "generation.max_new_tokens=16"]
    return InferenceConfig.from_yaml(FOLDER / "quickstart.yaml", overrides=[*paths, *overrides])


class KillAfter:
    """An observer of a run. It ends the process, without any cleanup, when a number of rows is finished."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, RowFinished):  # The answer is on disk.
            self._rows -= 1
            if self._rows == 0:
                os._exit(1)


async def run(config: InferenceConfig, kill_after: int | None = None) -> RunSummary:
    async with build_engine(config) as engine:
        return await engine.arun(config, observers=[KillAfter(kill_after)] if kill_after else [])


def first_run(output: Path, overrides: Sequence[str]) -> None:
    asyncio.run(run(settings(output, overrides), kill_after=20))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output, overrides = Path(folder) / "answers.jsonl", sys.argv[1:]
        killed = get_context("spawn").Process(target=first_run, args=(output, overrides))
        killed.start()
        killed.join()
        print(f"first run: ended with exit code {killed.exitcode}, and wrote no output: {not output.exists()}")

        summary = asyncio.run(run(settings(output, overrides)))
        print(f"second run: {summary.resumed} answers were saved, {summary.attempts} questions were sent")
        print(f"{len(output.read_text().splitlines())} lines in {output.name}")


if __name__ == "__main__":
    main()
