"""Counts what earlier runs of a job paid for the answers that are saved."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from asyncinfer.aio.tasks import in_slices
from asyncinfer.run.spending import Spending
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.types.conversation import Conversation


async def count_saved(spending: Spending | None, scratch: ScratchFile, spans: Iterable[tuple[int, int]]) -> None:
    """Count the saved answers towards the limits of a job. Without a limit, they are not read.

    Args:
        spans: Their offsets and lengths in the scratch file.
    """
    if spending is not None and spending.budget is not None:
        await in_slices(spending.count_saved(_answers(scratch, spans)))


def _answers(scratch: ScratchFile, spans: Iterable[tuple[int, int]]) -> Generator[Conversation]:
    for span in spans:
        try:
            yield Conversation.from_json(scratch.read(*span))
        except ValueError:  # Such a row is sent again, and counts then.
            continue
