"""Finds calls of the package that block a running event loop, with blockbuster."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable

import blockbuster.blockbuster
from blockbuster import BlockBuster, BlockBusterFunction, BlockingError

# The system keeps the path of the working directory in memory.
_HARMLESS = ("os.getcwd", "os.path.abspath")
# blockbuster knows reads and writes. These calls block too, on a slow or full disk, or while a process starts.
_MORE = (
    "builtins.open",
    "io.open",
    "os.fsync",
    "os.ftruncate",
    "os.open",
    "os.truncate",
    "subprocess.Popen.__init__",
)
# blockbuster allows these for descriptors with O_NONBLOCK, which the package's files have. On files the flag has no effect.
_READS_AND_WRITES = ("os.pread", "os.read", "os.write")
# Python itself accesses files here: a module at its first import, the packages' entry points, source lines for a
# traceback, and the log, whose handlers are the application's choice.
_ALLOWED = (
    ("<frozen importlib._bootstrap>", "_find_and_load"),
    ("importlib/util.py", "find_spec"),
    ("importlib/metadata/__init__.py", "entry_points"),
    ("linecache.py", "updatecache"),
    ("logging/__init__.py", "emit"),
)
# The blocking twins of the engines' methods may be called on a running loop, as in a notebook.
_BLOCKING_TWINS = ("asyncinfer/aio/portal.py", frozenset({"call", "run_cleanup"}))
# The constructor of a local engine is not async, and checks that the model's file exists.
_CONSTRUCTOR = ("asyncinfer/engines/local/engine.py", "__init__")


class BlockWatch:
    """Makes calls raise that block a running event loop and come from the package.

    `seen`: the calls since `on`. The package may handle the error, so a test must look here.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False
        self._buster = BlockBuster("asyncinfer")
        functions = self._buster.functions
        for name in _HARMLESS:
            del functions[name]
        for name in _MORE:
            functions[name] = BlockBusterFunction(None, name, scanned_modules="asyncinfer")
        for name in _READS_AND_WRITES:
            functions[name] = BlockBusterFunction(
                None, name, scanned_modules="asyncinfer", can_block_predicate=_is_no_file
            )
        for function in functions.values():
            function.can_block_predicate = self._unless_off(function.can_block_predicate)
            for place in _ALLOWED:
                function.can_block_in(*place)
            function.can_block_in(*_BLOCKING_TWINS)
            function.can_block_in(*_CONSTRUCTOR)
        blockbuster.blockbuster.BlockingError = self._error
        self._buster.activate()

    def on(self) -> None:
        """Forget what was seen, and watch."""
        self.seen.clear()
        self._on = True

    def off(self) -> None:
        """Allow everything until the next `on`. The functions stay replaced, because a test may have replaced them too."""
        self._on = False

    def close(self) -> None:
        """Restore the functions."""
        self._buster.deactivate()

    def _unless_off(self, may_block: Callable[..., bool]) -> Callable[..., bool]:
        return lambda *args, **kwargs: not self._on or may_block(*args, **kwargs)

    def _error(self, name: str) -> BlockingError:
        self.seen.append(f"{name} from {_place()}")
        return BlockingError(name)


def _is_no_file(fd: int, *_: object) -> bool:
    """Whether a descriptor is a socket or a pipe. These do not block with O_NONBLOCK."""
    return not stat.S_ISREG(os.fstat(fd).st_mode) and not os.get_blocking(fd)


def _place() -> str:
    """The innermost line of the package in the stack."""
    frames = [frame for frame in traceback.extract_stack() if "/asyncinfer/" in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
