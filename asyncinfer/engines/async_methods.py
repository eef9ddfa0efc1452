"""The async methods of every engine. A subclass binds settings; `asyncinfer.run` does the rest."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from asyncinfer.aio.background_iterator import BackgroundIterator, Channel
from asyncinfer.aio.iterate import first_of
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up
from asyncinfer.config import InferenceConfig
from asyncinfer.display.shown_progress import shown_progress
from asyncinfer.engines.batch_async import AsyncBatchMethods, uses_batches
from asyncinfer.engines.call_input import (
    ManyRows,
    absolute_path,
    answer_schema,
    cache_file,
    check_many,
    check_no_path,
    conversation_of,
    is_one_small_row,
    iterable_of,
    kept_columns,
    layout_of,
    source_of,
)
from asyncinfer.engines.call_recorders import recorders_of
from asyncinfer.engines.call_spending import spending_of
from asyncinfer.engines.failed_rows import retry_failures
from asyncinfer.errors import ConfigError, EngineConfigError, InputError
from asyncinfer.run import single
from asyncinfer.run.answer_cache import AnswerCache, answer_once
from asyncinfer.run.events import Observer
from asyncinfer.run.pilot import Pace
from asyncinfer.run.pilot_run import run_pilot
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.run import Run
from asyncinfer.run.saver import RowOutcome
from asyncinfer.run.sources import Source
from asyncinfer.run.stop import Stop, unless_stopped
from asyncinfer.types.conversation import Conversation, ConversationLike
from asyncinfer.types.estimates import Estimate
from asyncinfer.types.parsed import M, ResponseModel
from asyncinfer.types.results import FailureDetail, InferenceResult, RunSummary
from asyncinfer.types.run_errors import InferenceFailedError
from asyncinfer.types.stream import StreamDelta


class AsyncMethods(AsyncBatchMethods):
    """Answers conversations with the settings of each call. `BaseInferenceEngine` adds the blocking twins."""

    async def agenerate(
        self,
        conversation: ConversationLike,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
        response_model: ResponseModel[M] | None = None,
    ) -> Conversation[M]:
        """Answer one conversation under the engine's permits, pace, limits and retries. Nothing is saved.

        The settings of a config are prepared once and kept, so that repeated calls cost little. With `cache`, the
        answer is kept, and an equal call takes it from the cache.

        Args:
            conversation: The conversation to answer: a `Conversation`, a text (one user message), or a list of messages
                or of their dicts. It is not changed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            stop: Ends the call early.
            response_model: The type of the answer: a pydantic model class, or a JSON schema. Replaces that of the
                settings (`generation.response_model`).

        Returns:
            The conversation with the answer appended, as a new object. `.text` is the text of the answer, and `.parsed`
            the typed one if there is a `response_model`.

        Raises:
            InvalidAnswerError: The answer does not fit the `response_model`, also after all retries.
            RunInterruptedError: `stop` ended the call before it was done.
            RequestError: The conversation was not answered, and no retry is left.
            EngineDeadError: The engine can answer no conversation with these settings.
            ConfigError: A setting is wrong.
            InputError: The conversation is not valid.
        """
        asked = conversation_of(conversation, inference_config)
        setup = await self._setup_for(inference_config, response_model)
        answer = partial(single.generate, setup.access, self._attempts, asked)
        if inference_config is not None and inference_config.cache:
            file = cache_file(inference_config)
            answer = partial(answer_once, *file, setup.access.restored, asked, setup.keys, answer)
        completion = await unless_stopped(stop, answer)
        return completion.append_to(asked)

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
            return [await self._run_one(input[0], inference_config, response_model)]
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(
                inference_config,
                report,
                observers,
                stop=stop,
                partial=False,
                response_model=response_model,
                input=input,
            )
            result = await self._collect(run, input, inference_config)
        if result.has_failures:
            raise InferenceFailedError(_failure_message(result, run.saved_in), result)
        return [conversation for _, conversation in result.successful]

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
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(
                inference_config,
                report,
                observers,
                stop=stop,
                progress_path=progress_path,
                check=False,
                response_model=response_model,
                input=input,
            )
            return await self._collect(run, input, inference_config)

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
        without failed rows removes that file.

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
        if inference_config.retry_failures:
            again = partial(
                self.arun, on_progress=on_progress, progress=progress, observers=observers, stop=stop, relax_gc=relax_gc
            )
            return await retry_failures(inference_config, again)
        if (inference_config.input_path is None and input is None) or inference_config.output_path is None:
            raise ConfigError("arun reads a file and writes a file: set input_path and output_path")
        source = await _source(input, inference_config)
        if source is None:
            raise InputError("input: there are no conversations in it")
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(inference_config, report, observers, stop=stop, relax_gc=relax_gc, input=input)
            summary = await run.run(source)
        if isinstance(run.dead, EngineConfigError):
            raise run.dead
        return summary

    async def aestimate(
        self,
        input: Sequence[ConversationLike] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        rows: int = 20,
        on_progress: OnProgress | None = None,
        progress: bool = False,
        stop: Stop | None = None,
    ) -> Estimate:
        """Answer some rows of a job, chosen at random, and estimate what the others will take.

        The answers are saved as those of the job. The job takes them from there, and does not pay for them again.

        Args:
            input: The conversations, each as `agenerate` takes it. None: the rows of `inference_config.input_path`.
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
            ConfigError: A setting is wrong; nothing was sent.
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
        """
        async with shown_progress(progress, on_progress) as report:
            run = await self._new_run(inference_config, report, (), stop=stop)
            source = await _source(input, inference_config)
            if source is None:
                return Estimate(0, 0, 0)
            return await run_pilot(run, source, rows, await self._pace(inference_config))

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

        async def work(channel: Channel[tuple[int, RowOutcome]]) -> None:
            async with shown_progress(progress, on_progress) as report:
                run = await self._new_run(inference_config, report, observers, stop=stop, response_model=response_model)
                limit = inference_config.limit if inference_config is not None else None
                first = rows if limit is None else first_of(rows, limit)
                await run.stream(first, lambda i, outcome, taken: channel.send((i, outcome), taken))

        return BackgroundIterator(work)

    def astream(
        self,
        conversation: ConversationLike,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
        response_model: ResponseModel[Any] | None = None,
    ) -> BackgroundIterator[StreamDelta]:
        """Yield one answer in parts. Nothing is saved; failed attempts are retried until the first part.

        With a `response_model`, the whole answer is validated before the last part is yielded, which then has it in
        `parsed`. An answer that does not fit is an error; it is not asked again, because its parts were yielded.

        The generation is cancelled as soon as the consumer stops; see `BackgroundIterator`.

        Args:
            conversation: The conversation to answer: a `Conversation`, a text (one user message), or a list of messages
                or of their dicts. It is not changed.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.
            stop: Ends the stream early.
            response_model: The type of the answer, as for `agenerate`.

        Yields:
            The parts of the answer. The last one has the finish reason and the usage.

        Raises:
            InvalidAnswerError: The answer does not fit the `response_model`.
            RunInterruptedError: `stop` ended the stream before it was done.
            RequestError: The conversation was not answered, or the stream ended early.
            EngineDeadError: The engine can answer no conversation with these settings.
            ConfigError: A setting is wrong.
            InputError: The conversation is not valid.
        """
        asked = conversation_of(conversation, inference_config)

        async def work(channel: Channel[StreamDelta]) -> None:
            setup = await self._setup_for(inference_config, response_model)
            answer = partial(single.stream, setup.access, self._attempts, asked, channel.send)
            await unless_stopped(stop, answer)

        return BackgroundIterator(work)

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        """List the models that this engine can answer with.

        Args:
            chat_only: Leave out models that cannot chat, as far as the list shows it.

        Raises:
            RequestError: The endpoint did not list its models.
            ConfigError: A setting is wrong.
        """
        return [self._model_params.model_name] if self._model_params.model_name else []

    async def aapply_chat_template(self, conversation: ConversationLike, **tokenizer_kwargs: Any) -> str:
        """Return the prompt that the model's chat template makes of a conversation. Answers nothing.

        Args:
            tokenizer_kwargs: Variables of the template, such as `add_generation_prompt` (by default false, as in
                Transformers) and `tools`. Transformers also accepts the other arguments of its
                `apply_chat_template`.

        Raises:
            ConfigError: The engine does not have the template, because a server applies it.
            RequestError: The template does not support this conversation.
        """
        raise ConfigError(f"{type(self).__name__} has no chat template: the server that runs the model applies it")

    async def aclose(self) -> None:
        """Free the model or the connections."""
        self._setups.clear()
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await clean_up(error, self.aclose)

    # How the methods run

    async def _collect(self, run: Run, input: ManyRows | None, config: InferenceConfig | None) -> InferenceResult:
        """Run, keeping every outcome."""
        source = await _source(input, config)
        if source is None:
            return InferenceResult([], {})
        successful: list[tuple[int, Conversation]] = []
        failures: dict[int, FailureDetail] = {}

        def keep(index: int, outcome: RowOutcome) -> None:
            if isinstance(outcome, Conversation):
                successful.append((index, outcome))
            else:
                failures[index] = outcome

        await run.run(source, keep)
        successful.sort(key=lambda pair: pair[0])
        return InferenceResult(successful, dict(sorted(failures.items())))

    async def _run_one(self, row: object, config: InferenceConfig | None, response_model: Any) -> Conversation:
        """`ainfer` for one row that is not saved, without the tasks and threads of a run."""
        setup = await self._setup_for(config, response_model)
        outcome = await single.run_one(setup.access, self._attempts, setup.keys, row)
        if isinstance(outcome, FailureDetail):
            result = InferenceResult([], {0: outcome})
            raise InferenceFailedError(_failure_message(result, None), result)
        return outcome

    async def _pace(self, config: InferenceConfig | None) -> Pace:
        """How fast rows of a job can be answered."""
        access, _ = await self._setup_for(config)
        remote, generation = access.settings.remote, access.settings.generation
        return Pace(
            access.semaphore.most,
            remote.requests_per_minute,
            remote.input_tokens_per_minute,
            remote.output_tokens_per_minute,
            generation.max_new_tokens,
        )

    async def _new_run(
        self,
        config: InferenceConfig | None,
        on_progress: OnProgress | None,
        observers: Sequence[Observer],
        *,
        stop: Stop | None,
        partial: bool = True,
        progress_path: str | Path | None = None,
        check: bool = True,
        relax_gc: bool = False,
        response_model: Any = None,
        input: ManyRows | None = None,
    ) -> Run:
        access, keys = await self._setup_for(config, response_model, check=check)
        config = config or InferenceConfig()
        return Run(
            self._executors(access, config.batch),
            self._clock,
            keys,
            output_path=absolute_path(config.output_path, "output_path"),
            layout=layout_of(config),
            keep=kept_columns(input, config),
            answer_schema=answer_schema(access),
            progress_path=absolute_path(progress_path or config.progress_path, "progress_path"),
            on_progress=on_progress,
            observers=observers,
            recorders=recorders_of(config, str(self.engine_type), access),
            partial=partial,
            restored=access.restored,
            reuse_output=config.reuse_output,
            relax_gc=relax_gc,
            release_idle=access.engine.release_idle,
            problems=access.semaphore.problems,
            spending=spending_of(config, self._priced_endpoints(access.settings), access, self._clock.now),
            repeats=self._repeats(access, config),
            cache=AnswerCache(*cache_file(config), access.restored) if config.cache else None,
            stop=stop or Stop(),
        )


async def _source(input: ManyRows | None, config: InferenceConfig | None) -> Source | None:
    """Where the rows of a call come from. Files and folders are looked at in a thread."""
    return await DISK.run(source_of, input, config) if input is None else source_of(input, config)


def _failure_message(result: InferenceResult, saved_in: Path | None) -> str:
    shown = [f"  row {index}: {detail.error_message}" for index, detail in list(result.failures.items())[:3]]
    total = len(result.successful) + len(result.failures)
    where = f" and saved in {saved_in}" if saved_in is not None else ""
    retryable = sum(detail.is_retryable for detail in result.failures.values())
    if retryable == len(result.failures):
        advice = "Make the same call again to retry the failed rows."
    elif retryable:
        advice = f"Make the same call again to retry the {retryable} failed rows that may succeed."
    else:
        advice = "The failed rows will fail again until you correct them or the settings."
    return "\n".join(
        [
            f"{len(result.failures)} of {total} rows failed:",
            *shown,
            f"The others are in `.result`{where}. {advice}",
        ]
    )
