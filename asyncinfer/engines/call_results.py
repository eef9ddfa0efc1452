"""The results of a call for many rows: collected from its run, or an error if rows failed."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.run.run import Run
from asyncinfer.run.saver import RowOutcome
from asyncinfer.run.sources import Source
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail, InferenceResult
from asyncinfer.types.run_errors import InferenceFailedError

# How many failures a message shows.
_SHOWN = 3


async def collect(run: Run, source: Source | None) -> InferenceResult:
    """Run `source`, and keep every outcome, in the order of the input."""
    successful, failures = list[tuple[int, Conversation]](), dict[int, FailureDetail]()

    def keep(index: int, outcome: RowOutcome) -> None:
        if isinstance(outcome, Conversation):
            successful.append((index, outcome))
        else:
            failures[index] = outcome

    if source is not None:
        await run.run(source, keep)
    successful.sort(key=lambda pair: pair[0])
    return InferenceResult(successful, dict(sorted(failures.items())))


def all_answers(result: InferenceResult, saved_in: Path | None = None) -> list[Conversation]:
    """Return the answered conversations, in the order of the input.

    Args:
        saved_in: The file with the answers; None if they are not saved.

    Raises:
        InferenceFailedError: Rows failed.
    """
    if result.has_failures:
        raise InferenceFailedError(_failure_message(result, saved_in), result)
    return [conversation for _, conversation in result.successful]


def _failure_message(result: InferenceResult, saved_in: Path | None) -> str:
    failures = result.failures
    total = len(result.successful) + len(failures)
    where = f" and saved in {saved_in}" if saved_in is not None else ""
    shown = [f"  row {index}: {detail.error_message}" for index, detail in list(failures.items())[:_SHOWN]]
    first, last = f"{len(failures)} of {total} rows failed:", f"The others are in `.result`{where}. {_advice(result)}"
    return "\n".join([first, *shown, last])


def _advice(result: InferenceResult) -> str:
    retryable = sum(detail.is_retryable for detail in result.failures.values())
    if not retryable:
        return "The failed rows will fail again until you correct them or the settings."
    if retryable == len(result.failures):
        return "Make the same call again to retry the failed rows."
    return f"Make the same call again to retry the {retryable} failed rows that may succeed."
