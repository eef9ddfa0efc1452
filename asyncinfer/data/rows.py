"""Rows of a table with the prompt that makes a conversation of each, for calls from Python."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, cast

from asyncinfer.config import InputFormat, InputParams
from asyncinfer.data.answered_frame import with_answers
from asyncinfer.data.dict_table import DictTable
from asyncinfer.data.open_table import table_of
from asyncinfer.data.row_prompt import RowPrompt
from asyncinfer.data.table import Table
from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult


class Rows:
    """Rows of a table, as the input of `ainfer`, `ainfer_partial`, `ainfer_iter` and `arun`. `rows_from` makes them.

    Iterating yields the conversation of each row, which may block.
    """

    def __init__(self, data: Any, params: InputParams) -> None:
        self._data = data
        self.params = params
        self.table: Table = table_of(data, params)

    def __iter__(self) -> Iterator[Conversation]:
        for outcome in self.conversations():
            if isinstance(outcome, InputError):
                raise outcome
            yield outcome

    def conversations(self) -> Generator[Conversation | InputError]:
        """The conversation of each row, or why the row is not valid. Reads `data` once, and may block."""
        prompt = RowPrompt(self.params, keeps_metadata=True)
        if not isinstance(self.table, DictTable):  # Iterators of dicts are not read ahead.
            for _ in self.table.prepare():
                pass
        try:
            for row in self.table.rows():
                yield prompt.outcome(row.values)
        finally:
            self.table.close()

    def with_answers(self, answers: Sequence[Conversation] | InferenceResult) -> Any:
        """Return the data with columns for the answers: `answer`, `finish_reason`, the counts of tokens, and what else
        came with an answer, such as `reasoning_content` and `cost`.

        Args:
            answers: What `ainfer` or `ainfer_partial` returned for these rows. For an `InferenceResult`, the column
                `error` has the reasons of rows that failed; their other new columns are null. `error` and columns
                that not all answers have get the prefix `answer_` if the name is taken.

        Returns:
            An object of the same kind as the data: a pandas or polars data frame, an Arrow table, or a data set of
            `datasets`. For other data, a list of dicts.

        Raises:
            InputError: The number of answers is not the number of rows, or the data have a column `answer`,
                `finish_reason`, with a count of tokens, or with the name of a property of typed answers.
            ConfigError: A property of typed answers has the name of another new column, such as `answer`.
        """
        return with_answers(self._data, self.table, answers)


def rows_from(
    data: Any,
    *,
    prompt: str | None = None,
    system: str | None = None,
    images: str | None = None,
    id: str | None = None,
    model_name: str | None = None,
    generation: Mapping[str, str] | None = None,
    keep: Sequence[str] | None = None,
    format: InputFormat | str | None = None,
    delimiter: str | None = None,
) -> Rows:
    """Return the rows of `data`, with the prompt that makes a conversation of each.

    Args:
        data: A pandas or polars data frame, an Arrow table, a data set of `datasets`, an iterable of dicts, or the
            path or URL of a file.
        prompt: A Jinja template for the message of the user. Its variables are the columns of a row; `row` has all of
            them. None: each row has its messages in a column `messages`.
        system: A Jinja template for the system prompt.
        images: The column with the images: paths, URLs or bytes.
        id: The column whose values become the ids of the conversations.
        model_name: The column with the name of the model that answers a row.
        generation: Columns with settings of single rows, by the name of the setting, such as `temperature`.
        keep: The columns that become metadata of the conversations, or columns of the output of `arun`.
        format: The format of a file; None: that of its extension.
        delimiter: The character between two values of a CSV file; None: a tab in `.tsv` files, otherwise a comma.

    Raises:
        ConfigError: A template is wrong.
        InputError: `data` is not a table.
        MissingDependencyError: A package that is needed is not installed.
    """
    params = InputParams(
        prompt=prompt,
        system=system,
        images=images,
        id=id,
        model_name=model_name,
        generation=dict(generation or {}),
        keep=list(keep) if keep is not None else None,
        format=cast(InputFormat | None, format),  # A text is converted, or is an error.
        delimiter=delimiter,
    )
    return Rows(data, params)
