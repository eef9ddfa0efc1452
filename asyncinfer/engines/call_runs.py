"""Makes the run for a call: the settings of the call, as the run needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.executor import BatchExecutor
from asyncinfer.config import BatchParams, InferenceConfig
from asyncinfer.data.rows import Rows
from asyncinfer.engines.call_input import (
    ManyRows,
    absolute_path,
    answer_schema,
    cache_file,
    check_no_retry,
    kept_columns,
    layout_of,
    source_of,
)
from asyncinfer.engines.call_recorders import recorders_of
from asyncinfer.engines.call_spending import spending_of
from asyncinfer.engines.core import EngineCore
from asyncinfer.engines.retry_failures import check_retry, settings_of
from asyncinfer.errors import InputError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.events import Observer
from asyncinfer.run.executor import Executor, RunInfo
from asyncinfer.run.pilot import Pace
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.retry.failed_input_rows import FailedInputRows
from asyncinfer.run.retry.retry import Retry
from asyncinfer.run.run import Run
from asyncinfer.run.sources import Source
from asyncinfer.run.stats import same_row
from asyncinfer.run.stop import Stop


@dataclass(frozen=True, kw_only=True)
class RunCall:
    """One call of a method that answers many rows.

    Attributes:
        config: Settings for this call; None: those of the engine.
        input: The rows; None: those that the config names.
        stop: Ends the run early; None: nothing does.
        observers: Get each event of the run.
        response_model: The type of the answers, in place of that of the config; None: that of the config.
        progress_path: A JSON file with the progress of the run; None: that of the config.
        partial: Write the existing answers even if rows failed.
        check: Whether settings that cannot work raise a ConfigError. Otherwise each row fails with that error.
        relax_gc: Let Python collect garbage less often during the run.
        retry: The retry of failed rows that the call is; None if it is none.
    """

    config: InferenceConfig | None
    input: ManyRows | None = None
    stop: Stop | None = None
    observers: Sequence[Observer] = ()
    response_model: Any = None
    progress_path: str | Path | None = None
    partial: bool = True
    check: bool = True
    relax_gc: bool = False
    retry: Retry | None = None

    def of(self, retry: Retry) -> RunCall:
        """The call that runs the failed rows, which are in a file."""
        config = settings_of(retry, self.config or InferenceConfig())
        return replace(self, config=config, input=None, retry=retry)


async def source_of_call(call: RunCall) -> Source | None:
    """Where the rows of a call come from; None for an empty list. Looks at files and folders in a thread.

    Raises:
        InputError: The input is one conversation, and not a list of them.
        ConfigError: There is no input, or there are two, or a setting contradicts the file.
    """
    if call.input is None or isinstance(call.input, Rows):
        return await DISK.run(source_of, call.input, call.config)
    return source_of(call.input, call.config)


def uses_batches(config: InferenceConfig | None) -> bool:
    """Whether the rows of a run are sent as batch jobs."""
    return config is not None and config.batch is not None and config.batch.enabled


class CallRuns(EngineCore):
    """Makes the runs of an engine."""

    async def _new_run(self, call: RunCall, on_progress: OnProgress | None = None) -> Run:
        """Return a run with the settings of a call. It has not begun.

        Raises:
            ConfigError: A setting is wrong.
        """
        check_no_retry(call.config)
        access, keys = await self._setup_for(call.config, call.response_model, check=call.check)
        config = call.config or InferenceConfig()
        return Run(
            self._executors(access, config.batch),
            self._clock,
            keys,
            output_path=absolute_path(config.output_path, "output_path"),
            layout=layout_of(config),
            keep=kept_columns(call.input, config),
            answer_schema=answer_schema(access),
            progress_path=absolute_path(call.progress_path or config.progress_path, "progress_path"),
            on_progress=on_progress,
            observers=call.observers,
            recorders=recorders_of(config, str(self.engine_type), access),
            partial=call.partial,
            restored=access.restored,
            reuse_output=config.reuse_output,
            limit=config.limit if call.retry is None else None,
            relax_gc=call.relax_gc,
            release_idle=access.engine.release_idle,
            problems=access.semaphore.problems,
            spending=spending_of(config, access, lambda: self._pricing(config, access.settings)),
            count_earlier=call.retry.count_saved if call.retry is not None else None,
            row_of=call.retry.row_of if call.retry is not None else same_row,
            make_duplicates=self._duplicates(access, config),
            cache=AnswerCache(*cache_file(config), access.restored) if config.cache else None,
            stop=call.stop or Stop(),
        )

    async def _failed_input_rows(self, call: RunCall) -> FailedInputRows | None:
        """Return the failed rows of the input, for an output of rows; None for an output of conversations.

        Raises:
            ConfigError: A setting is wrong.
            InputError: The input cannot be used.
        """
        config = call.config or InferenceConfig()
        check_retry(config, has_input=call.input is not None)
        layout = layout_of(config)
        if not layout.has_rows:
            return None
        source = await source_of_call(replace(call, config=config.model_copy(update={"limit": None})))
        if source is None:
            raise InputError("input: there are no conversations in it")
        access, row_keys = await self._setup_for(config, call.response_model)
        keep = kept_columns(call.input, config)
        return FailedInputRows(source, keep, answer_schema(access), row_keys, has_types=layout.has_schema)

    def _executors(self, access: EngineAccess, batch: BatchParams | None) -> Callable[[RunInfo], Executor]:
        """Return what makes the executor of a run: one for single requests, or one for batch jobs.

        Raises:
            ConfigError: There should be batch jobs, and the engine has no batch API.
        """
        if batch is None or not batch.enabled:
            return lambda info: self._new_executor(access, info.total)
        api = self._priced_batch_api(access, batch)
        return lambda info: BatchExecutor(api, access, batch, info)

    async def _pace(self, config: InferenceConfig | None) -> Pace:
        """Return how fast the rows of a job can be answered."""
        access, _ = await self._setup_for(config)
        remote, generation = access.settings.remote, access.settings.generation
        return Pace(
            access.semaphore.most,
            remote.requests_per_minute,
            remote.input_tokens_per_minute,
            remote.output_tokens_per_minute,
            generation.max_new_tokens,
        )
