"""Finds the columns of the input that an output of rows has."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.data.column_types import ColumnScan, KeptColumns
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.sources import Source
from asyncinfer.types.names import no_column

_EVERY = 64  # rows


def columns_of(
    source: Source, keep: Sequence[str] | None, answers: AnswerColumns
) -> Generator[None, None, KeptColumns]:
    """Find the columns of the input that an output has. Blocks; yields every 64 rows.

    Args:
        keep: Their names; None: all.
        answers: Its optional columns get names that are free.

    Raises:
        InputError: There is no column of this name.
        ConfigError: The answer has a column of the same name.
    """
    names, scan = source.column_names(), ColumnScan()
    if names is None:
        for count, item in enumerate(source.items()):
            scan.add(item.values())
            if count % _EVERY == 0:
                yield
        names = scan.names
    kept = names if keep is None else keep
    if missing := [name for name in kept if name not in names]:
        raise InputError(f"{source.name}: input.keep: {no_column(missing[0], names)}")
    if taken := [name for name in kept if name in answers.reserved]:
        raise ConfigError(
            f"{source.name}: the column {taken[0]!r} has the name of a column of the answer; rename it, or name the "
            "columns of the output in input.keep"
        )
    answers.reserve(kept)
    return KeptColumns(kept, source.arrow_schema(), scan.kinds)
