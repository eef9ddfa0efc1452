"""The async methods for many rows. Each call makes a `Run`, which saves and resumes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path
from typing import Any

from asyncinfer.aio.background_iterator import BackgroundIterator, Channel
from asyncinfer.aio.iterate import first_of
from asyncinfer.aio.limiters import DISK
from asyncinfer.config import InferenceConfig
from asyncinfer.data.rows import Rows
from asyncinfer.display.shown_progress import shown_progress
from asyncinfer.engines.call_input import (
    ManyRows,
    check_files,
    check_many,
    check_no_path,
    is_one_small_row,
    iterable_of,
)
from asyncinfer.engines.call_results import all_answers, collect
from asyncinfer.engines.call_runs import CallRuns, RunCall, source_of_call, uses_batches
from asyncinfer.engines.retry_failures import retry_of
from asyncinfer.errors import ConfigError, EngineConfigError, InputError
from asyncinfer.run import single
from asyncinfer.run.events import Observer
from asyncinfer.run.pilot_run import run_pilot
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.saver import RowOutcome
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.estimates import Estimate
from asyncinfer.types.parsed import M, ResponseModel
from asyncinfer.types.results import FailureDetail, InferenceResult, RunSummary


class AsyncRowMethods(CallRuns):
    """Answers many rows, and saves their answers."""

    async def ainfer(
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

        `input` together with `input_path` is a ConfigError.

        Args:
            input: The conversations, each as `agenerate` takes it, or the rows of a table: from `rows_from`, or dicts
                if `inference_config.input` has a prompt. None: the rows of `inference_config.input_path`.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `agenerate`.

        Returns:
            The conversations with their answers, in input order, as new objects.

        Raises:
            InferenceFailedError: Rows failed. All others are finished and saved; `.result` holds them.
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A setting is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        is_watched = (
            on_progress is not None or progress or observers or stop is not None or uses_batches(inference_config)
        )
        if is_one_small_row(input, inference_config) and not is_watched:
            return await self._run_one(input[0], inference_config, response_model)
        call = RunCall(
            config=inference_config,
            input=input,
            stop=stop,
            observers=observers,
            response_model=response_model,
            partial=False,
        )
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(call, report)
            result = await collect(run, await source_of_call(call))
        return all_answers(result, run.saved_in)

    async def ainfer_partial(
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
        """As `ainfer`, but rows that fail are reported in the result; the others are still written.

        Args:
            input: The conversations, each as `agenerate` takes it, or the rows of a table: from `rows_from`, or dicts
                if `inference_config.input` has a prompt. None: the rows of `inference_config.input_path`.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            progress_path: A JSON file with the progress of the run. By default, that of `inference_config`.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `agenerate`.

        Returns:
            The answered rows and the failures of the others, by their place in the input.

        Raises:
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A path is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        call = RunCall(
            config=inference_config,
            input=input,
            stop=stop,
            observers=observers,
            response_model=response_model,
            progress_path=progress_path,
            check=False,
        )
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(call, report)
            return await collect(run, await source_of_call(call))

    async def arun(
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

        Args:
            inference_config: Settings for this run, with `input_path` and `output_path`.
            input: Rows in place of those of `input_path`, as `ainfer` takes them.
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
        call = RunCall(config=inference_config, input=input, stop=stop, observers=observers, relax_gc=relax_gc)
        async with shown_progress(progress, on_progress) as report:
            if inference_config.retry_failures:
                async with retry_of(inference_config, await self._failed_input_rows(call)) as retry:
                    return await retry.run(lambda: self._run_files(call.of(retry), report))
            if (inference_config.input_path is None and input is None) or inference_config.output_path is None:
                raise ConfigError("arun reads a file and writes a file: set input_path and output_path")
            return await self._run_files(call, report)

    async def aestimate(
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

        Args:
            input: The conversations, each as `agenerate` takes it, or the rows of a table: from `rows_from`, or dicts
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
        if rows < 1:
            raise ConfigError(f"rows: an estimate needs the answers to at least 1 row (found {rows})")
        call = RunCall(config=inference_config, input=input, stop=stop)
        async with shown_progress(progress, on_progress) as report:
            if inference_config is None or not inference_config.retry_failures:
                return await self._estimate(call, rows, report)
            async with retry_of(inference_config, await self._failed_input_rows(call)) as retry:
                return await self._estimate(call.of(retry), rows, report)

    def ainfer_iter(
        self,
        source: Iterable[object] | AsyncIterable[object],
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> BackgroundIterator[tuple[int, Conversation[M] | FailureDetail]]:
        """Yield rows as they finish, saved ones included.

        The rows in flight are cancelled as soon as the consumer stops; see `BackgroundIterator`.

        Args:
            source: Yields conversations, each as `agenerate` takes it, or rows as `ainfer` takes them. It may be
                async and endless: it is read only as fast as rows are answered and consumed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's. Rows
                are saved, and resumed, only with an `output_path`.
            on_progress: Called with a `Progress` at most ten times a second, and at the end; may be async.
            progress: Show a progress bar, on the terminal of stderr or in a notebook; nothing if there is neither.
            observers: Called with each event of the run, on its event loop.
            stop: Ends the run early.
            response_model: The type of the answers, as for `agenerate`.

        Yields:
            The place of a row in the source, and its answered conversation or its failure.

        Raises:
            EngineDeadError: The engine can answer no row any more.
            RunInterruptedError: `stop` ended the run before it was done.
            ConfigError: A setting is wrong.
            InputError: `source` is one conversation. A single row that is not valid only fails.
            ScratchError: Answers cannot be saved.
        """
        check_many(source, "source")
        check_no_path(inference_config)
        rows = iterable_of(source, inference_config)
        limit = inference_config.limit if inference_config is not None else None
        call = RunCall(config=inference_config, stop=stop, observers=observers, response_model=response_model)

        async def work(channel: Channel[tuple[int, RowOutcome]]) -> None:
            async with shown_progress(progress, on_progress) as report:
                if isinstance(source, Rows) and inference_config is not None:
                    await DISK.run(check_files, source.table, inference_config)
                run = await self._new_run(call, report)
                first = rows if limit is None else first_of(rows, limit)
                await run.stream(first, lambda i, outcome, taken: channel.send((i, outcome), taken))

        return BackgroundIterator(work)

    async def _run_files(self, call: RunCall, on_progress: OnProgress | None) -> RunSummary:
        """`arun` for rows that are known."""
        source = await source_of_call(call)
        if source is None:
            raise InputError("input: there are no conversations in it")
        run = await self._new_run(call, on_progress)
        summary = await run.run(source)
        if isinstance(run.dead, EngineConfigError):
            raise run.dead
        return summary

    async def _estimate(self, call: RunCall, rows: int, on_progress: OnProgress | None) -> Estimate:
        """`aestimate` for rows that are known."""
        run = await self._new_run(call, on_progress)
        source = await source_of_call(call)
        if source is None:
            return Estimate(0, 0, 0)
        return await run_pilot(run, source, rows, await self._pace(call.config))

    async def _run_one(self, row: object, config: InferenceConfig | None, response_model: Any) -> list[Conversation]:
        """`ainfer` for one row that is not saved, without the tasks and threads of a run."""
        setup = await self._setup_for(config, response_model)
        outcome = await single.run_one(setup.access, self._attempts, setup.keys, row)
        if isinstance(outcome, FailureDetail):
            return all_answers(InferenceResult([], {0: outcome}))
        return [outcome]
