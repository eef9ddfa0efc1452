"""A stage of a Ray Data pipeline that answers conversations with any engine.

    ds = ray.data.read_parquet("s3://bucket/questions")
    ds = ds.map_batches(
        AnswerRows,
        fn_constructor_args=[config],
        compute=ray.data.ActorPoolStrategy(size=4),
        num_gpus=1,
        batch_size=64,
        batch_format="pyarrow",
    )
    ds.write_parquet("s3://bucket/answers")

Written against Ray Data 2.60 (November 2026): `map_batches` builds the class once in each actor, and works on several
batches of an actor at the same time, because `__call__` is an async generator. This module does not import Ray.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.registry import build_engine
from asyncinfer.errors import InputError
from asyncinfer.run.items import as_conversation, parse
from asyncinfer.run.saver import RowOutcome
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.names import no_column

Batch = Mapping[str, Sequence[Any]]


class Table(Protocol):
    """What is used of `pyarrow.Table`."""

    column_names: list[str]

    def __getitem__(self, name: str) -> Any: ...

    def append_column(self, name: str, values: Any) -> Table: ...


class AnswerRows:
    """Answers the conversations in one column of each batch, and adds columns with the answers.

    Batches are Arrow tables (`batch_format="pyarrow"`) or dicts of columns, which is Ray Data's default. In dicts, Ray
    Data pickles columns of lists and dicts, which Parquet cannot hold; so use tables for such columns.

    A row that cannot be answered has a null answer, and the reason in the column `error`. The other rows go on. Nothing
    is saved here: Ray Data writes the rows, and repeats the batches of an actor that dies. Each actor has an engine of
    its own, with its own permits and limits. To keep the limits of one API, and to save each row as soon as it is
    answered, use `distributed` in a configuration instead.

    Args:
        config: The engine and its settings. It must not have `distributed`, because the actors are the replicas.
        column: The column with the conversations. A value is a text, which is one user message; a list of messages, as
            dicts; or a conversation as a dict or as JSON text that begins with a brace.
        answer_column: The new column with the texts of the answers.
        error_column: The new column with the reasons of rows without an answer.
    """

    def __init__(
        self,
        config: InferenceConfig,
        *,
        column: str = "messages",
        answer_column: str = "answer",
        error_column: str = "error",
    ) -> None:
        self._engine = build_engine(config)
        self._column, self._answer_column, self._error_column = column, answer_column, error_column

    async def __call__(self, batch: Batch | Table) -> AsyncIterator[Mapping[str, Any] | Table]:
        """Yield the batch with its answers.

        Raises:
            InputError: The batch does not have the column.
            EngineDeadError: The engine can answer no row.
        """
        names = list(batch) if isinstance(batch, Mapping) else batch.column_names
        if self._column not in names:
            raise InputError(no_column(self._column, names))
        values = batch[self._column] if isinstance(batch, Mapping) else batch[self._column].to_pylist()
        answers, errors = await self._answer(values)
        if isinstance(batch, Mapping):
            yield {**batch, self._answer_column: answers, self._error_column: errors}
        else:
            yield _with_columns(batch, {self._answer_column: answers, self._error_column: errors})

    async def _answer(self, values: Sequence[object]) -> tuple[list[str | None], list[str | None]]:
        """Return the texts of the answers, and the reasons of rows without an answer."""
        answers: list[str | None] = [None] * len(values)
        errors: list[str | None] = [None] * len(values)
        rows: list[tuple[int, Conversation]] = []
        for index, value in enumerate(values):
            try:
                rows.append((index, _conversation(value)))
            except InputError as error:
                errors[index] = str(error)
        async with self._engine.ainfer_iter(row for _, row in rows) as outcomes:
            async for place, outcome in outcomes:
                index = rows[place][0]
                answers[index], errors[index] = _result(outcome)
        return answers, errors


def _with_columns(table: Table, columns: Mapping[str, list[str | None]]) -> Table:
    """Return the table with further columns of texts."""
    arrow: Any = import_module("pyarrow")
    for name, values in columns.items():
        table = table.append_column(name, arrow.array(values, arrow.string()))
    return table


def _result(outcome: RowOutcome) -> tuple[str | None, str | None]:
    """Return the text of the answer, and the reason why there is none."""
    if isinstance(outcome, Conversation):
        return outcome.text, None
    return None, outcome.error_message


def _conversation(value: object) -> Conversation:
    """Return the conversation in a column.

    Raises:
        InputError: It is not a conversation.
    """
    plain = _plain(value)
    if isinstance(plain, str) and plain.lstrip().startswith("{"):
        return parse(plain.encode(errors="surrogatepass"))
    return as_conversation(plain)


def _plain(value: object) -> object:
    """Return a value of Arrow or NumPy as plain lists and dicts. Arrow adds nulls for the keys of other rows."""
    as_list = getattr(value, "tolist", None)
    if callable(as_list):
        value = as_list()
    if isinstance(value, Mapping):
        items = cast(Mapping[str, object], value).items()
        return {key: _plain(part) for key, part in items if part is not None}
    return [_plain(part) for part in cast(list[object], value)] if isinstance(value, list) else value
