"""The interface between a model and the thread that runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from asyncinfer.engines.local.request import Request
from asyncinfer.errors import RequestError, error_text, invalid_request
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta

RowEvent = StreamDelta | Completion | RequestError
Emit = Callable[[int, RowEvent], None]


class Stepper(Protocol):
    """A model that works on up to `slots` rows at once. All its methods except `prepare` run in the model's thread.

    An exception other than `RequestError` means that the model has failed: no row can continue.
    """

    @property
    def slots(self) -> int: ...

    @property
    def busy(self) -> bool:
        """Whether any row is in progress."""
        ...

    def prepare(self, request: Request) -> Request:
        """Prepare a row with a structure, which may take seconds: for example compile its grammar. Runs in a helper
        thread, at the same time as the other methods. A RequestError fails only this row.
        """
        ...

    def add(self, row: int, request: Request) -> None:
        """Start `row`. A RequestError fails only this row."""
        ...

    def step(self, emit: Emit) -> None:
        """Compute one token or one batch. A row ends when its Completion or RequestError is emitted. Deltas before
        that are only needed if `request.stream` is set.
        """
        ...

    def abort(self, row: int) -> None:
        """Drop `row`. No further event is emitted for it."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@contextmanager
def row_errors(library: str) -> Generator[None]:
    """Turn any exception into a RequestError of the row. For code that prepares a row and does not touch the model."""
    try:
        yield
    except RequestError:
        raise
    except BaseException as error:  # A panic of an extension in Rust is a BaseException.
        raise invalid_request(f"{library} cannot process this row: {error_text(error)}") from error
