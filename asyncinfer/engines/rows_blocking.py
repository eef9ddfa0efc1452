"""The blocking twins of the methods for many rows."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from asyncinfer.aio import portal
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.call_input import ManyRows
from asyncinfer.engines.rows_async import AsyncRowMethods
from asyncinfer.run.events import Observer
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.estimates import Estimate
from asyncinfer.types.parsed import M, ResponseModel
from asyncinfer.types.results import FailureDetail, InferenceResult, RunSummary


class RowMethods(AsyncRowMethods):
    """Blocking methods for many rows. Each runs its async method on an event loop in a thread of its own."""

    def infer(
        self,
        input: ManyRows | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> list[Conversation[M]]:
        """Answer many conversations. Saved rows are not sent again.

        Blocks; `ainfer` is the async method.

        Args:
            input: The conversations, each as `generate` takes it, or the rows of a table: from `rows_from`, or dicts
                if `inference_config.input` has a prompt. None: the rows of `inference_config.input_path`.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `generate`.

        Returns:
            The conversations with their answers, in input order, as new objects.

        Raises:
            InferenceFailedError: Rows failed. All others are finished and saved; `.result` holds them.
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A setting is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        return portal.call(
            partial(
                self.ainfer,
                input,
                inference_config,
                on_progress=on_progress,
                progress=progress,
                observers=observers,
                stop=stop,
                response_model=response_model,
            )
        )

    def infer_partial(
        self,
        input: ManyRows | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        progress_path: str | Path | None = None,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> InferenceResult[M]:
        """As `infer`, but rows that fail are reported in the result; the others are still written.

        Blocks; `ainfer_partial` is the async method.

        Args:
            input: The conversations, each as `generate` takes it, or the rows of a table: from `rows_from`, or dicts
                if `inference_config.input` has a prompt. None: the rows of `inference_config.input_path`.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            progress_path: A JSON file with the progress of the run. By default, that of `inference_config`.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `generate`.

        Returns:
            The answered rows and the failures of the others, by their place in the input.

        Raises:
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A path is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        return portal.call(
            partial(
                self.ainfer_partial,
                input,
                inference_config,
                progress_path=progress_path,
                on_progress=on_progress,
                progress=progress,
                observers=observers,
                stop=stop,
                response_model=response_model,
            )
        )

    def run(
        self,
        inference_config: InferenceConfig,
        *,
        input: ManyRows | None = None,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        relax_gc: bool = True,
    ) -> RunSummary:
        """Answer the rows of the file `input_path`, and write the file `output_path`. Memory does not grow with the
        answers.

        Failed rows are written to `<output_path>.failures.jsonl`, with the reason in `metadata["failure"]`. A run
        without failed rows removes that file. A run of only some rows keeps what it says about the others.

        Blocks; `arun` is the async method.

        Args:
            inference_config: Settings for this run, with `input_path` and `output_path`.
            input: Rows in place of those of `input_path`, as `infer` takes them.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            relax_gc: Let Python collect garbage less often during the run. That concerns the whole process, and is
                undone at the end of the run.

        Returns:
            The counts of the run.

        Raises:
            EngineConfigError: The engine cannot work with its settings.
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A setting is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        return portal.call(
            partial(
                self.arun,
                inference_config,
                input=input,
                on_progress=on_progress,
                progress=progress,
                observers=observers,
                stop=stop,
                relax_gc=relax_gc,
            )
        )

    def estimate(
        self,
        input: ManyRows | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        rows: int = 20,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        stop: Stop | None = None,
    ) -> Estimate:
        """Answer some rows of a job, chosen at random, and estimate what the others will take.

        The answers are saved as those of the job. The job takes them from there, and does not pay for them again. Rows
        of the pilot that are answered already, by an earlier run of the job or in its output, are not sent.

        Blocks; `aestimate` is the async method.

        Args:
            input: The conversations, each as `generate` takes it, or the rows of a table: from `rows_from`, or dicts
                if `inference_config.input` has a prompt. None: the rows of `inference_config.input_path`.
            inference_config: Settings for the job. Only those that are set explicitly override the engine's.
            rows: How many rows to answer now.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            stop: Ends the pilot early.

        Returns:
            The tokens, the cost and the time of the rows that are left, with 95% confidence intervals.

        Raises:
            EngineDeadError: The engine can answer no row.
            RunInterruptedError: `stop` ended the pilot, or a limit was reached.
            ConfigError: A setting is wrong, or `rows` is less than 1; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        return portal.call(
            partial(
                self.aestimate,
                input,
                inference_config,
                rows=rows,
                on_progress=on_progress,
                progress=progress,
                stop=stop,
            )
        )

    def infer_iter(
        self,
        source: Iterable[object] | AsyncIterable[object],
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> Iterator[tuple[int, Conversation[M] | FailureDetail]]:
        """Yield rows as they finish, saved ones included.

        Blocks between two rows; `ainfer_iter` is the async method. The rows in flight are cancelled when the iterator
        is closed or dropped.

        Args:
            source: Yields conversations, each as `generate` takes it, or rows as `infer` takes them. It may be
                async and endless: it is read only as fast as rows are answered and consumed. It is read in another
                thread.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's. Rows
                are saved, and resumed, only with an `output_path`.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `generate`.

        Yields:
            The place of a row in the source, and its answered conversation or its failure.

        Raises:
            EngineDeadError: The engine can answer no row any more.
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A setting is wrong.
            InputError: `source` is one conversation. A single row that is not valid only fails.
            ScratchError: Answers cannot be saved.
        """
        return portal.iterate(
            partial(
                self.ainfer_iter,
                source,
                inference_config,
                on_progress=on_progress,
                progress=progress,
                observers=observers,
                stop=stop,
                response_model=response_model,
            )
        )
