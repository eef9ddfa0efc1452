"""Merges the answers to rows that had failed into the output of their run.

The output and the file of failed rows change together: both are first written under other names. If the process is
killed between the two replacements, the next call completes them.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from asyncinfer.dialects.fields import object_at
from asyncinfer.errors import ConfigError, InputError, ScratchError
from asyncinfer.run.failed_places import FailedPlaces, Place
from asyncinfer.run.failures import failed_line, failures_path, identity_fields, place_fields
from asyncinfer.run.retried_output import RetriedOutput
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.indexed_lines import IndexedLines
from asyncinfer.scratch.keys import parse_row_key, row_key_text
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.lines import bounded_lines
from asyncinfer.types.paths import open_regular, os_error_text

_EVERY = 64  # rows


class RetriedRows:
    """The files of one retry of the failed rows of `output`. All methods block.

    Args:
        retried: Merges answers into the output.
        has_rows: Whether the output has the columns of the input.

    Attributes:
        failures: The failed rows, which are the input of the retry.
        answers: The output of the retry.
        left: How many rows of the input have no answer after the merge.
    """

    def __init__(self, output: Path, retried: RetriedOutput, *, has_rows: bool) -> None:
        self.output, self.failures = output, failures_path(output)
        self._retried = retried
        self.answers = output.with_name(f"{output.name}.retry.jsonl")
        self._new_output = output.with_name(f"{output.name}.retry.merged")
        self._new_failures = output.with_name(f"{output.name}.retry.failed")
        self._places = FailedPlaces(self.failures, has_rows=has_rows)
        # For each row that was tried: the place of its answer, or -1 - the place of its failure.
        self._outcomes = array("q")
        self._new_keys = bytearray()
        self.left = 0

    def prepare(self) -> Generator[None]:
        """Complete a merge that was interrupted, and find the places of the failed rows. Yields every 64 rows.

        Raises:
            ConfigError: There are no failed rows, or the output is not that of their run.
            InputError: Failed rows do not say where their answers belong.
            ScratchError: A file cannot be read or written.
        """
        try:
            if self._new_failures.exists():
                self._commit()
            disk.remove(self._new_output)
            if not self.failures.exists():
                raise ConfigError(f"retry_failures: there is no file {self.failures} with failed rows")
            yield from self._places.read()
            yield from self._check_count()
            yield from self._retried.prepare(self._places)
        except OSError as error:
            raise ScratchError(f"{self.failures}: the failed rows cannot be tried: {os_error_text(error)}") from error

    def row_of(self, number: int) -> int:
        """The row of the run that the failed row with this number is."""
        return self._places[number].row

    def _check_count(self) -> Generator[None]:
        count = yield from self._retried.row_count()
        if len(self._places) and count != self._places.output_rows:
            raise ConfigError(
                f"retry_failures: {self.output} has {count} rows, but the run that wrote {self.failures.name} had "
                f"{self._places.output_rows} answers. Answers can be merged only into the output of that run. Run the "
                "same again without retry_failures: that also tries the failed rows again"
            )

    def match(self, tried: int) -> Generator[None]:
        """Find the outcome of each row. Yields every 64 rows.

        Args:
            tried: How many rows the retry had, the first ones in the file of failed rows.

        Raises:
            InputError: The outcomes do not belong to the file of failed rows, because that has changed.
        """
        with ExitStack() as stack:
            answers = yield from _indexed(stack, self.answers)
            failures = yield from _indexed(stack, failures_path(self.answers))
            if len(self._places) < tried or len(answers) + len(failures) != tried:
                raise InputError(f"{self.failures} has changed since its rows were sent; see {self.answers}")
            self.left = len(self._places) - len(answers)
            failed: dict[int, int] = {}
            for place in range(len(failures)):
                number = object_at(Conversation.from_json(failures[place]).metadata, FAILURE).get("row")
                assert isinstance(number, int), "the retry has written this file"
                failed[number] = -1 - place
                if place % _EVERY == 0:
                    yield
        places = itertools.count()
        self._outcomes = array("q", (failed[row] if row in failed else next(places) for row in range(tried)))

    def saved_rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """The answers: the key and the occurrence of each row, and its conversation as JSON."""
        with ExitStack() as stack:
            answers = _lines(stack, self.answers)
            for number, outcome in enumerate(self._outcomes):
                if outcome < 0:
                    continue
                answered = _renumbered(next(answers), self._places[number])
                if (identity := parse_row_key(answered.metadata.get(ROW_KEY))) is not None:
                    self._new_keys += identity[0]
                    yield *identity, answered.to_json_bytes()

    def add_keys(self, keys: bytearray) -> Generator[None]:
        """After `merge`, add the keys of the rows in the output. Yields every 64 rows.

        Raises:
            InputError: A file cannot be read.
        """
        keys += yield from self._retried.keys()
        keys += self._new_keys

    def merge(self) -> Generator[None]:
        """Put each answer at the place of its row, and keep the rows that have none. Yields at least every 64 rows.

        Raises:
            ScratchError: A file cannot be read or written.
        """
        try:
            yield from self._merge()
            self._commit()
        except OSError as error:
            raise ScratchError(
                f"{self.output}: the answers in {self.answers} cannot be merged: {os_error_text(error)}. Run the same "
                "command again."
            ) from error

    def _merge(self) -> Generator[None]:
        with ExitStack() as stack:
            lines = yield from _indexed(stack, self.failures)
            answers = yield from _indexed(stack, self.answers)
            failed_again = yield from _indexed(stack, failures_path(self.answers))
            # The output is complete before the failures, which show that both are complete.
            yield from self._retried.merge(self._new_output, lambda: self._answered(answers))
            failures = stack.enter_context(replacing(self._new_failures))
            merged = 0
            for count, number in enumerate(self._places.in_order()):
                place, outcome = self._places[number], self._outcome(number)
                if outcome is not None and outcome >= 0:
                    merged += 1
                else:
                    moved = place._replace(
                        position=place.position + merged, output_rows=place.output_rows + len(answers)
                    )
                    failures.write(_at_place(lines[number] if outcome is None else failed_again[-1 - outcome], moved))
                if count % _EVERY == 0:
                    yield

    def _answered(self, answers: IndexedLines | tuple[()]) -> Generator[tuple[Place, Conversation]]:
        """The answers in the order of the input."""
        for number in self._places.in_order():
            if (outcome := self._outcome(number)) is not None and outcome >= 0:
                place = self._places[number]
                yield place, _renumbered(answers[outcome], place)

    def _outcome(self, number: int) -> int | None:
        """The outcome of the row in this line; None if the row was not tried."""
        return self._outcomes[number] if number < len(self._outcomes) else None

    def _commit(self) -> None:
        """Replace the output and the failed rows, and remove the files of the retry."""
        if self._new_output.exists():
            disk.replace(self._new_output, self.output)
        if self._new_failures.stat().st_size:
            disk.replace(self._new_failures, self.failures)
        else:
            disk.remove(self.failures)
            disk.remove(self._new_failures)
        disk.sync_folder(self.output.parent)
        for path in (self.answers, failures_path(self.answers)):
            disk.remove(path)


def _lines(stack: ExitStack, path: Path) -> Iterator[bytes]:
    """The lines of a file; none if it does not exist."""
    try:
        file = stack.enter_context(open_regular(path))
    except FileNotFoundError:
        return iter(())
    return (line if line.endswith(b"\n") else line + b"\n" for line in bounded_lines(file))


def _indexed(stack: ExitStack, path: Path) -> Generator[None, None, IndexedLines | tuple[()]]:
    """The lines of a file by their numbers; none if it does not exist."""
    try:
        lines = stack.enter_context(closing(IndexedLines(path)))
    except FileNotFoundError:
        return ()
    yield from lines.index()
    return lines


def _at_place(line: bytes, place: Place) -> bytes:
    """The line of a failed row, with the place that its answer has in the output."""
    conversation = Conversation.from_json(line)
    row_key = row_key_text(*place.identity) if place.identity is not None else None
    fields = {
        **place_fields(place.position, place.output_rows, place.input_rows),
        **identity_fields(row_key, place.checksum),
    }
    return failed_line(conversation, {**object_at(conversation.metadata, FAILURE), "row": place.row, **fields})


def _renumbered(line: bytes, place: Place) -> Conversation:
    """An answered row of the retry. In the retry, it may have been another occurrence of its key."""
    answered = Conversation.from_json(line)
    present, first = answered.metadata.get(ROW_KEY), place.identity
    identity = parse_row_key(present)
    if first is None or identity is None or identity == first or identity[0] != first[0]:
        return answered
    name = row_key_text(*first)
    changes: dict[str, Any] = {"metadata": {**answered.metadata, ROW_KEY: name}}
    if answered.conversation_id == present:  # The row has no id in the input.
        changes["conversation_id"] = name
    return answered.model_copy(update=changes)
