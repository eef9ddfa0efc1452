"""The rows of the input that had failed, as a retry reads them."""

from __future__ import annotations

from collections.abc import Generator

from asyncinfer import GenerationParams, ModelParams
from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.run.retry.failed_input_rows import FailedInputRows
from asyncinfer.run.retry.failed_row_index import FailedRow
from asyncinfer.run.sources import ListSource
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation
from tests.fakes import questions

ROWS = 640


def test_reading_pauses_every_64_rows_on_the_way_to_a_failed_row() -> None:
    source = ListSource(questions(ROWS))
    *_, last = source.items()
    failed = FailedRow(ROWS - 1, 0, 0, ROWS, checksum=last.checksum)

    def answers() -> Generator[tuple[FailedRow, Conversation]]:
        yield failed, last.load()

    keys = RowKeys("REMOTE", ModelParams(model_name="m"), GenerationParams())
    rows = FailedInputRows(source, None, None, keys, has_types=False)
    *pauses, row = rows.values(answers, AnswerColumns())
    assert pauses == [None] * 9
    assert row is not None
