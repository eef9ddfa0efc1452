"""What runs a model for the thread that owns it, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from asyncinfer.engines.local.request import Request
from asyncinfer.errors import RequestError, error_text, invalid_request
from asyncinfer.types.results import Completion, StreamDelta

RowEvent = StreamDelta | Completion | RequestError
Emit = Callable[[int, RowEvent], None]


class Stepper(Protocol):
    """A model that works on up to `slots` rows at once. All its methods except `prepare` run in the model's thread.

    An exception other than `RequestError` means that it can go on with no row.
    """

    @property
    def slots(self) -> int: ...

    @property
    def busy(self) -> bool:
        """Whether a row is in work."""
        ...

    def prepare(self, request: Request) -> Request:
        """Prepare a row with a structure, which may take seconds: for example compile its grammar. Runs in a helper
        thread, at the same time as the other methods. A RequestError fails only this row.
        """
        ...

    def add(self, row: int, request: Request) -> None:
        """Start to work on `row`. A RequestError fails only this row."""
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
    except BaseException as error:  # A panic of an extension in Rust is a BaseException.
        raise invalid_request(f"{library} cannot process this row: {error_text(error)}") from error
