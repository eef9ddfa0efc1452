"""A beam search that stops after each token until it is told to go on."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Semaphore, Thread

from asyncinfer.engines.native_batch import search
from asyncinfer.engines.native_model import NativeModel
from asyncinfer.engines.native_row import Row


class Search:
    """Runs in a thread of its own, never at the same time as its owner."""

    def __init__(self, model: NativeModel, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.answers: list[list[int]] | None = None
        self._model = model
        self._cancelled = False
        self._error: BaseException | None = None
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, args=(list(rows),), name="asyncinfer-beams", daemon=True)

    def step(self) -> bool:
        """Go on by a token; whether the search is over. Raises what the search raised."""
        if self._thread.ident is None:
            self._thread.start()
        self._go.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error
        return self.answers is not None

    def cancel(self) -> None:
        """End the search at the token it is at."""
        self._cancelled = True
        if self._thread.ident is not None:
            self._go.release()
            self._thread.join()

    def _run(self, rows: Sequence[Row]) -> None:
        self._go.acquire()
        try:
            self.answers = search(self._model, rows, self._watch)
        except BaseException as error:
            self._error = error
        self._stopped.release()

    def _watch(self) -> bool:
        if not self._cancelled:
            self._stopped.release()
            self._go.acquire()
        return self._cancelled
