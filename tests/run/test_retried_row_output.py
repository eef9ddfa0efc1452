"""The rows of the input that had failed, as a retry reads them."""

from __future__ import annotations

from collections.abc import Generator

from asyncinfer import GenerationParams, ModelParams
from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.run.failed_places import Place
from asyncinfer.run.retried_row_output import InputColumns
from asyncinfer.run.sources import ListSource
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation
from tests.fakes import questions

ROWS = 640


def test_reading_pauses_every_64_rows_on_the_way_to_a_failed_row() -> None:
    source = ListSource(questions(ROWS))
    *_, last = source.items()
    place = Place(ROWS - 1, 0, 0, ROWS, checksum=last.checksum)

    def answers() -> Generator[tuple[Place, Conversation]]:
        yield place, last.load()

    keys = RowKeys("REMOTE", ModelParams(model_name="m"), GenerationParams())
    rows = InputColumns(source, None, None, keys, has_types=False)
    *pauses, row = rows.values(answers, AnswerColumns())
    assert pauses == [None] * 9
    assert row is not None
