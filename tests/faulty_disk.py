"""A layer over `asyncinfer.scratch.disk` that kills the process, or raises an error, at the n-th file operation."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncinfer.scratch import disk

# Errors of these operations are ignored: a folder that cannot be synced or removed does no harm.
NEVER_RAISE = frozenset({"sync_folder", "remove_folder"})


@dataclass
class Faults:
    """What happens at operation number `at` (from 1; 0 for none), and which operations were called.

    `error`: the operation raises OSError with this number. Without it, the process is killed, right `before`
    the operation or right after it. A write that fails leaves half of its data behind. `journal`: a file that gets
    what was written, and a line `sync` after each sync, as far as the operations ended.
    """

    at: int = 0
    before: bool = True
    error: int | None = None
    journal: Path | None = None
    called: list[str] = field(default_factory=list[str])

    @property
    def happened(self) -> bool:
        return 0 < self.at <= len(self.called)

    def around(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The operation, with the fault in it."""

        def call(*args: Any, **more: Any) -> Any:
            self.called.append(name)
            here = len(self.called) == self.at
            if self.error is not None and name in NEVER_RAISE:
                return operation(*args, **more)
            if here and self.error is not None:
                if name == "write":
                    operation(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(self.error, os.strerror(self.error))
            if here and self.before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = operation(*args, **more)
            self._note(name, args)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        if self.journal is not None and name in ("write", "sync"):
            with self.journal.open("ab", buffering=0) as file:
                file.write(bytes(args[1]) if name == "write" else b"sync\n")


@contextmanager
def faulty_disk(faults: Faults) -> Generator[None]:
    """Route every file operation of the package through `faults`."""
    plain = {name: getattr(disk, name) for name in disk.OPERATIONS}
    for name, operation in plain.items():
        setattr(disk, name, faults.around(name, operation))
    try:
        yield
    finally:
        for name, operation in plain.items():
            setattr(disk, name, operation)


class KilledError(BaseException):
    """Stands for a kill of the process."""


@contextmanager
def killed_at_replacement(beginning: str, number: int) -> Generator[None]:
    """Raise `KilledError` in place of a file replacement, and of all that follow.

    Args:
        beginning: How the names of the counted source files begin. Other files are replaced.
        number: How many of them are replaced before.
    """
    replace, seen = disk.replace, list[Path]()

    def killed(source: Path, target: Path) -> None:
        if source.name.startswith(beginning):
            seen.append(target)
            if len(seen) > number:
                raise KilledError
        replace(source, target)

    disk.replace = killed
    try:
        yield
    finally:
        disk.replace = replace


def synced_questions(journal: Path) -> set[str]:
    """The questions whose answers were written to the scratch file and synced."""
    lines = journal.read_bytes().split(b"\n") if journal.exists() else []
    synced = lines[: len(lines) - lines[::-1].index(b"sync")] if b"sync" in lines else []
    rows = [json.loads(line)["conversation"] for line in synced if line.startswith(b'{"crc":')]
    return {row["messages"][0]["content"] for row in rows} - {"other"}
