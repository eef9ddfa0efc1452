"""The files of a retry of failed rows, and the replacement of those of the run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

from asyncinfer.run.failures import failures_path
from asyncinfer.scratch import disk
from asyncinfer.scratch.indexed_lines import IndexedLines


class RetryFiles:
    """The paths of the files of a retry.

    Attributes:
        output: The output of the run.
        failures: The failed rows of the run, which are the input of the retry.
        answers: The output of the retry.
        failed_again: The failed rows of the retry.
        new_output: The output of the run with the answers. It will replace `output`.
        new_failures: The rows that still have no answer. They will replace `failures`.
    """

    def __init__(self, output: Path) -> None:
        self.output, self.failures = output, failures_path(output)
        self.answers = output.with_name(f"{output.name}.retry.jsonl")
        self.failed_again = failures_path(self.answers)
        self.new_output = output.with_name(f"{output.name}.retry.merged")
        self.new_failures = output.with_name(f"{output.name}.retry.failed")

    def complete(self) -> None:
        """Complete the replacement if the process was killed during it. Blocks.

        Raises:
            OSError: A file cannot be written.
        """
        if self.new_failures.exists():
            self.replace()

    def replace(self) -> None:
        """Replace the output and the failed rows, and remove the files of the retry. Blocks.

        Raises:
            OSError: A file cannot be written.
        """
        if self.new_output.exists():
            disk.replace(self.new_output, self.output)
        if self.new_failures.stat().st_size:
            disk.replace(self.new_failures, self.failures)
        else:
            disk.remove(self.failures)
            disk.remove(self.new_failures)
        disk.sync_folder(self.output.parent)
        for path in (self.answers, self.failed_again):
            disk.remove(path)


def indexed_lines(stack: ExitStack, path: Path) -> Generator[None, None, IndexedLines | tuple[()]]:
    """Return the lines of a file, by their indexes; none if it does not exist. Blocks; yields every 64 lines.

    Args:
        stack: Closes the file.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        lines = stack.enter_context(closing(IndexedLines(path)))
    except FileNotFoundError:
        return ()
    yield from lines.index()
    return lines
