"""A beam search that stops after each token until it is told to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Semaphore, Thread
from typing import Any

from asyncinfer.engines.local.transformers.batch import generation_config
from asyncinfer.engines.local.transformers.model import NativeModel
from asyncinfer.engines.local.transformers.row import ActiveRow


class Search:
    """Runs in a thread of its own, never at the same time as its owner."""

    def __init__(self, model: NativeModel, rows: Sequence[ActiveRow]) -> None:
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

    def _run(self, rows: Sequence[ActiveRow]) -> None:
        self._go.acquire()
        try:
            self.answers = _search(self._model, rows, self._watch)
        except BaseException as error:
            self._error = error
        self._stopped.release()

    def _watch(self) -> bool:
        if not self._cancelled:
            self._stopped.release()
            self._go.acquire()
        return self._cancelled


def _search(model: NativeModel, rows: Sequence[ActiveRow], watch: Callable[[], bool]) -> list[list[int]]:
    """Each row's answer by a beam search, which `watch` ends early by its True."""
    torch: Any = import_module("torch")
    inputs = model.collate([row.prompt for row in rows], [[] for _ in rows])
    start, beams, seed = inputs["input_ids"].shape[1], rows[0].settings.beams, rows[0].request.generation.seed

    def rule(ids: Any, scores: Any) -> Any:
        for place, row in enumerate(rows):
            for beam in range(place * beams, (place + 1) * beams if row.is_ruled else 0):
                row.rule(scores[beam], ids[beam, start:].tolist())
        return scores

    def end(ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(ids),), watch(), device=ids.device)

    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        ids = model.hf.generate(
            **inputs,
            generation_config=generation_config(model, rows),
            logits_processor=[rule],
            stopping_criteria=[end],
        )
    return ids[:, start:].tolist()
