"""Merges answers into an output of conversations."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from asyncinfer.data.compression import Compression
from asyncinfer.run.retry.failed_row_index import FailedRowIndex
from asyncinfer.run.retry.output_lines import OutputLines
from asyncinfer.run.retry.output_merge import ReadAnswers
from asyncinfer.scratch.finished import row_keys_in

_EVERY = 64  # lines


class ConversationsMerge:
    """A JSONL file of conversations, which may be compressed. Its lines stay as they are."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._lines = OutputLines(path, compression)

    def prepare(self, failed: FailedRowIndex) -> Generator[None]:
        yield

    def row_count(self) -> Generator[None, None, int]:
        return (yield from self._lines.count())

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        with closing(_texts(answers)) as new:
            yield from self._lines.merge(target, new)

    def keys(self) -> Generator[None, None, bytearray]:
        keys = bytearray()
        with closing(self._lines.read()) as lines:
            for count, line in enumerate(lines):
                for key, _ in row_keys_in(line):
                    keys += key
                if count % _EVERY == 0:
                    yield
        return keys


def _texts(answers: ReadAnswers) -> Generator[tuple[int, bytes]]:
    """Yield each answer as a line, with the number of old lines before it."""
    with closing(answers()) as found:
        for failed, conversation in found:
            yield failed.position, conversation.to_json_bytes() + b"\n"
