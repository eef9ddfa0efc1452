"""A beam search that can be run token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Semaphore, Thread
from typing import Any

from asyncinfer.engines.local.transformers.batch import generation_config
from asyncinfer.engines.local.transformers.model import TransformersModel
from asyncinfer.engines.local.transformers.row import ActiveRow


class BeamSearch:
    """Runs `generate` in its own thread, which pauses after each token. It never runs at the same time as its owner.

    Attributes:
        answers: The tokens of each row's answer, once the search has ended.
    """

    def __init__(self, model: TransformersModel, rows: Sequence[ActiveRow]) -> None:
        self.rows = list(rows)
        self.answers: list[list[int]] | None = None
        self._model = model
        self._cancelled = False
        self._error: BaseException | None = None
        self._resume, self._paused = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, args=(list(rows),), name="asyncinfer-beams", daemon=True)

    def step(self) -> bool:
        """Compute one token. Returns whether the search has ended. Raises any exception of the search."""
        if self._thread.ident is None:
            self._thread.start()
        self._resume.release()
        self._paused.acquire()
        if self._error is not None:
            raise self._error
        return self.answers is not None

    def cancel(self) -> None:
        """End the search at the current token."""
        self._cancelled = True
        if self._thread.ident is not None:
            self._resume.release()
            self._thread.join()

    def _run(self, rows: Sequence[ActiveRow]) -> None:
        self._resume.acquire()
        try:
            self.answers = _search(self._model, rows, self._pause)
        except BaseException as error:
            self._error = error
        self._paused.release()

    def _pause(self) -> bool:
        """Wait for the next `step`. Returns whether the search was cancelled."""
        if not self._cancelled:
            self._paused.release()
            self._resume.acquire()
        return self._cancelled


def _search(model: TransformersModel, rows: Sequence[ActiveRow], pause: Callable[[], bool]) -> list[list[int]]:
    """The answer of each row. `pause` is called after each token, and ends the search by returning True."""
    torch: Any = import_module("torch")
    inputs = model.collate([row.prompt for row in rows], [[] for _ in rows])
    start, beams, seed = inputs["input_ids"].shape[1], rows[0].settings.beams, rows[0].request.generation.seed

    def adjust_scores(ids: Any, scores: Any) -> Any:
        for index, row in enumerate(rows):
            for beam in range(index * beams, (index + 1) * beams if row.adjusts_scores else 0):
                row.adjust_scores(scores[beam], ids[beam, start:].tolist())
        return scores

    def stop(ids: Any, *_: Any, **__: Any) -> Any:
        return torch.full((len(ids),), pause(), device=ids.device)

    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        ids = model.hf.generate(
            **inputs,
            generation_config=generation_config(model, rows),
            logits_processor=[adjust_scores],
            stopping_criteria=[stop],
        )
    return ids[:, start:].tolist()
