"""Counts what earlier runs of a job paid: for the answers that are saved, and for attempts without an answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from asyncinfer.aio.tasks import in_slices
from asyncinfer.run.spending import Spending
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.spent import SpentLine
from asyncinfer.types.conversation import Conversation


def _any_row(key: bytes, n: int) -> bool:
    return True


async def count_saved(
    spending: Spending | None,
    scratch: ScratchFile,
    spans: Iterable[tuple[int, int]],
    is_row: Callable[[bytes, int], bool] = _any_row,
) -> None:
    """Count what the scratch file has towards the limits of a job. Without a limit, it is not read.

    Args:
        spans: The offsets and lengths of the saved answers in the scratch file.
        is_row: Whether the job has the row with this key and number. By default, all lines are of the job.
    """
    if spending is not None and spending.budget is not None:
        await in_slices(spending.count_saved(_answers(scratch, spans)))
        await in_slices(spending.count_spent(_spent(scratch, is_row)))


def _answers(scratch: ScratchFile, spans: Iterable[tuple[int, int]]) -> Generator[Conversation]:
    for span in spans:
        try:
            yield Conversation.from_json(scratch.read(*span))
        except ValueError:  # Such a row is sent again, and counts then.
            continue


def _spent(scratch: ScratchFile, is_row: Callable[[bytes, int], bool]) -> Generator[SpentLine]:
    return (spent for spent, _ in scratch.spent_lines() if is_row(spent.key, spent.n))
