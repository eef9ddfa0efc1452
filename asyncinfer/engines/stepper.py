"""What runs a model for the thread that owns it, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from asyncinfer.errors import RequestError, what_it_says
from asyncinfer.run.request import Request
from asyncinfer.types.results import Completion, StreamDelta, unanswerable

Event = StreamDelta | Completion | RequestError
Emit = Callable[[int, Event], None]


class Stepper(Protocol):
    """A model that takes up to `slots` rows into work at once. All its methods but `prepare` run in the model's thread.

    An exception other than `RequestError` means that it can go on with no row.
    """

    @property
    def slots(self) -> int: ...

    @property
    def busy(self) -> bool:
        """Whether a row is in work."""
        ...

    def prepare(self, request: Request) -> Request:
        """Do for a row with a structure what may take seconds, such as compiling its grammar. It runs in a helper
        thread, beside the other methods. A RequestError fails this row alone.
        """
        ...

    def add(self, row: int, request: Request) -> None:
        """Take `row` into work. A RequestError fails this row alone."""
        ...

    def step(self, emit: Emit) -> None:
        """Go on by a token or a batch. Each row is ended by emitting its Completion or RequestError;
        deltas before that are needed only where `request.stream`.
        """
        ...

    def abort(self, row: int) -> None:
        """Drop `row`; nothing is emitted for it any more."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@contextmanager
def blaming_the_row(library: str) -> Generator[None]:
    """Inside, nothing has touched the model yet: what fails there is the row's fault, and fails it alone."""
    try:
        yield
    except RequestError:
        raise
    except BaseException as error:  # A panic of an extension in Rust is no Exception.
        raise unanswerable(f"{library} cannot do what is asked: {what_it_says(error)}") from error
