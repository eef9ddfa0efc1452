"""What every engine offers. A subclass answers one conversation; everything else is here or in `run`."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakKeyDictionary

from asyncinfer import sync
from asyncinfer.config import (
    GenerationParams,
    InferenceConfig,
    ModelParams,
    RemoteParams,
)
from asyncinfer.config import merged as merge
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.retry import RetryPolicy
from asyncinfer.errors import ConfigError, EngineConfigError, InferenceFailedError, InputError, RequestError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.clock import Clock, MonotonicClock
from asyncinfer.run.gate import Gate
from asyncinfer.run.hosted import BackgroundIterator, Channel
from asyncinfer.run.job import Job
from asyncinfer.run.loop import Outcome, Stop
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.request import Request
from asyncinfer.run.rows import FileSource, ListSource, Source, check
from asyncinfer.run.single import answer
from asyncinfer.run.tasks import clean_up, foreign_code
from asyncinfer.scratch.atomic import as_config_error
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.scratch.model_files import ModelFile
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.paths import expanded
from asyncinfer.types.results import (
    Completion,
    FailureDetail,
    InferenceErrorType,
    InferenceResult,
    RunSummary,
    StreamDelta,
)

log = logging.getLogger("asyncinfer")

_ENGINES_OWN = frozenset(
    {
        "num_workers",
        "use_adaptive_concurrency",
        "politeness_policy",
        "requests_per_minute",
        "input_tokens_per_minute",
        "output_tokens_per_minute",
    }
)


# The configs whose prepared settings an engine keeps, for each event loop.
_MOST_KEPT = 16


class _Kept(NamedTuple):
    """An answerer, and a copy of the config that it was made for."""

    config: InferenceConfig | None
    answerer: Answerer


class BaseInferenceEngine(ABC):
    """Runs chat models through one interface. Every `a` method has a blocking twin without the `a`.

    An engine may be used from several event loops and threads at once, and again after it was closed.
    """

    engine_type: ClassVar[str]

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._model_params = model_params
        self._generation_params = generation_params or GenerationParams()
        self._remote_params = remote_params
        self._clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._endpoint = Endpoint(self._concurrency(), remote_params)
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()
        self._attempts = Attempts()
        self._kept: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[int, _Kept]] = WeakKeyDictionary()

    # What a subclass supplies

    @classmethod
    @abstractmethod
    def get_supported_params(cls) -> set[str]:
        """The names of the generation parameters that this engine supports."""

    @abstractmethod
    async def _generate(self, request: Request) -> Completion:
        """Answer one conversation.

        Raises:
            RequestError: this row failed. EngineDeadError: no row can be answered any more.
        """

    async def _stream(self, request: Request) -> AsyncIterator[StreamDelta]:
        """Answer one conversation in parts; an engine that cannot gives its answer as one."""
        completion = await self._generate(request)
        message = completion.message
        if message.reasoning_content:
            yield StreamDelta(reasoning_content=message.reasoning_content)
        yield completion.as_delta(message.compute_flattened_text_content())

    def _concurrency(self) -> int:
        """How many rows are worth having in flight at once."""
        return self._remote_params.num_workers if self._remote_params is not None else 1

    async def _model_for(self, call: ModelParams) -> ModelParams:
        """The model parameters in effect when a call's config brings its own."""
        return merge(self._model_params, call)

    def _prepare(self, model: ModelParams, generation: GenerationParams, remote: RemoteParams) -> Any:
        """What the rows of a call share, for `Request.prepared`. By default, nothing.

        Raises:
            ConfigError: no row can be answered with these settings.
        """
        return None

    async def _model_files(self) -> Sequence[ModelFile]:
        """The model's files, which are part of the rows' keys. By default, none."""
        return ()

    def _dropped(self, prepared: Any) -> frozenset[str]:
        """The supported parameters that are not passed to this model. By default, none."""
        return frozenset()

    def _named(self, remote: RemoteParams) -> str:
        """The name of the engine in messages."""
        return type(self).__name__

    async def _close(self) -> None:
        """Free what the engine owns; it opens again when it is used again. By default, nothing."""
        return

    # Running

    async def agenerate(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> Conversation:
        """Answer one conversation under the engine's permits, pace, limits and retries. Nothing is saved.

        The settings of a config are prepared once and kept, so that repeated calls cost little.

        Returns:
            The conversation with the answer appended, as a new object.

        Raises:
            RequestError: The conversation was not answered, and no retry is left.
            EngineDeadError: The engine can answer no conversation with these settings.
            ConfigError: A setting is wrong. InputError: The conversation is not valid.
        """
        _check_types(conversation, inference_config)
        answerer = await self._kept_answerer(inference_config)
        return (await answer(answerer, self._attempts, conversation)).answer(conversation)

    async def ainfer(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[Conversation]:
        """Answer every conversation of `input`, or of `inference_config.input_path`, in input order.

        Raises:
            InferenceFailedError: rows failed, after every other was finished and saved; `.result` has those.
        """
        job = await self._job(inference_config, on_progress, partial=False)
        result = await self._collect(job, input, inference_config)
        if result.has_failures:
            raise InferenceFailedError(_failed(result, job.saved_in), result)
        return [conversation for _, conversation in result.successful]

    async def ainfer_partial(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        progress_path: str | Path | None = None,
        on_progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> InferenceResult:
        """As `ainfer`, but rows that fail are reported in the result; the others are still written.

        Raises:
            RunInterruptedError: `stop` ended the run before it was done.
        """
        job = await self._job(inference_config, on_progress, progress_path=progress_path, stop=stop, check=False)
        return await self._collect(job, input, inference_config)

    async def arun(
        self,
        inference_config: InferenceConfig,
        *,
        on_progress: OnProgress | None = None,
        stop: Stop | None = None,
    ) -> RunSummary:
        """Answer the file `input_path` into the file `output_path`; memory does not grow with its answers.

        Raises:
            EngineConfigError: the engine could not begin with its settings.
            RunInterruptedError: `stop` ended the run before it was done.
        """
        if inference_config.input_path is None or inference_config.output_path is None:
            raise ConfigError("arun goes from file to file: set input_path and output_path")
        job = await self._job(inference_config, on_progress, stop=stop)
        summary = await job.run(_file(inference_config.input_path))
        if isinstance(job.dead, EngineConfigError):
            raise job.dead
        return summary

    def ainfer_iter(
        self,
        source: Iterable[object] | AsyncIterable[object],
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> BackgroundIterator[tuple[int, Outcome]]:
        """Yield `(index, Conversation | FailureDetail)` as rows finish, saved ones included. Raises
        EngineDeadError once the engine can answer no row any more.

        `source` yields conversations and may be async and endless; it is read no further ahead than the
        engine and the consumer take. Rows are saved, and resumed, only with an `output_path`. The rows in
        flight are cancelled as soon as the consumer stops; see `BackgroundIterator`.
        """

        async def work(channel: Channel[tuple[int, Outcome]]) -> None:
            job = await self._job(inference_config, on_progress)
            await job.stream(source, lambda i, outcome, taken: channel.send((i, outcome), taken))

        return BackgroundIterator(work)

    def astream(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> BackgroundIterator[StreamDelta]:
        """Yield one answer as it comes. Saves nothing and retries nothing.

        The generation is cancelled as soon as the consumer stops; see `BackgroundIterator`.
        """
        check(conversation)

        async def work(channel: Channel[StreamDelta]) -> None:
            answerer = await self._answerer(inference_config or InferenceConfig())
            attempt = await answerer.gate.enter(lambda: answerer.cost(lambda: conversation))
            last, answered, failure = StreamDelta(), False, None
            try:
                with foreign_code("the engine"):
                    async for last in self._stream(answerer.request(conversation, attempt, stream=True)):
                        channel.send(last)
                answered = last.finish_reason is not None
            except RequestError as error:
                failure = error
                raise
            finally:
                answerer.gate.leave(attempt, answered=answered, usage=last.usage if answered else None, error=failure)
                failure = None  # Its traceback refers to this frame: break the reference cycle.

        return BackgroundIterator(work)

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        """The models that this engine can answer with."""
        return [self._model_params.model_name] if self._model_params.model_name else []

    async def aclose(self) -> None:
        """Free the model or the connections."""
        with self._lock:
            self._kept.clear()
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await clean_up(error, self.aclose)

    # Blocking twins

    def generate(self, conversation: Conversation, inference_config: InferenceConfig | None = None) -> Conversation:
        """The blocking twin of `agenerate`."""
        return sync.call(partial(self.agenerate, conversation, inference_config))

    def infer(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[Conversation]:
        """The blocking twin of `ainfer`."""
        return sync.call(partial(self.ainfer, input, inference_config, on_progress=on_progress))

    def infer_partial(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        progress_path: str | Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> InferenceResult:
        """The blocking twin of `ainfer_partial`."""
        return sync.call(
            partial(
                self.ainfer_partial,
                input,
                inference_config,
                progress_path=progress_path,
                on_progress=on_progress,
            )
        )

    def run(self, inference_config: InferenceConfig, *, on_progress: OnProgress | None = None) -> RunSummary:
        """The blocking twin of `arun`."""
        return sync.call(partial(self.arun, inference_config, on_progress=on_progress))

    def stream(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> Iterator[StreamDelta]:
        """The blocking twin of `astream`."""
        return sync.iterate(partial(self.astream, conversation, inference_config))

    def list_models(self, chat_only: bool = True) -> list[str]:
        """The blocking twin of `alist_models`."""
        return sync.call(partial(self.alist_models, chat_only))

    def close(self) -> None:
        """The blocking twin of `aclose`. A destructor may call it: while the interpreter shuts down it does nothing."""
        sync.wind_up(self.aclose)

    # Settling what a call asks for

    async def _collect(
        self, job: Job, input: Sequence[Conversation] | None, config: InferenceConfig | None
    ) -> InferenceResult:
        """Run, keeping every outcome."""
        source = _source(input, config)
        if source is None:
            return InferenceResult([], {})
        successful: list[tuple[int, Conversation]] = []
        failures: dict[int, FailureDetail] = {}

        def keep(index: int, outcome: Outcome) -> None:
            if isinstance(outcome, Conversation):
                successful.append((index, outcome))
            else:
                failures[index] = outcome

        await job.run(source, keep)
        successful.sort(key=lambda pair: pair[0])
        return InferenceResult(successful, dict(sorted(failures.items())))

    async def _job(
        self,
        config: InferenceConfig | None,
        on_progress: OnProgress | None,
        *,
        partial: bool = True,
        progress_path: str | Path | None = None,
        stop: Stop | None = None,
        check: bool = True,
    ) -> Job:
        config = config or InferenceConfig()
        answerer = await self._answerer(config, check=check)
        return Job(
            answerer,
            RowKeys(
                str(self.engine_type),
                answerer.model,
                answerer.generation,
                self._remote_for(config),
                await self._model_files(),
            ),
            output_path=_path(config.output_path, "output_path"),
            progress_path=_path(progress_path or config.progress_path, "progress_path"),
            on_progress=on_progress,
            partial=partial,
            reuse_output=config.reuse_output,
            stop=stop or Stop(),
        )

    async def _kept_answerer(self, config: InferenceConfig | None) -> Answerer:
        """The answerer for a config. It is made once for each event loop, while the config stays the same."""
        with self._lock:
            kept = self._kept.setdefault(asyncio.get_running_loop(), OrderedDict())
        found = kept.get(id(config))
        if found is not None and _is_same(found.config, config):
            kept.move_to_end(id(config))
            return found.answerer
        # A copy, since the config may change during the await.
        copy = config.model_copy(deep=True) if config is not None else None
        answerer = await self._answerer(copy or InferenceConfig())
        kept[id(config)] = _Kept(copy, answerer)
        if len(kept) > _MOST_KEPT:
            kept.popitem(last=False)
        return answerer

    async def _answerer(self, config: InferenceConfig, *, check: bool = True) -> Answerer:
        with foreign_code("the engine"):
            model = await self._model_for(config.model)
        generation = merge(self._generation_params, config.generation)
        dropped = self._unsupported(generation)
        self._warn_engines_own(config.remote_params)
        remote = self._remote_for(config) or RemoteParams()
        policy = RetryPolicy(
            remote.max_retries,
            remote.retry_backoff_base,
            remote.retry_backoff_max,
            remote.max_wait,
            remote.max_outage,
        )
        generate = self._generate
        prepared: Any = None
        try:
            prepared = self._prepare(model, generation, remote)
            dropped |= self._dropped(prepared)
        except ConfigError as error:
            if check:
                raise
            generate = _unable(str(error))
        self._warn_dropped(dropped)
        return Answerer(
            generate,
            self._gate(),
            policy,
            self._clock,
            model,
            generation,
            prepared,
            tuple(sorted(dropped)),
            self._named(remote),
        )

    def _remote_for(self, config: InferenceConfig) -> RemoteParams | None:
        own, call = self._remote_params, config.remote_params
        if own is None or call is None:
            return own
        # A null leaves to the engine what it knows, such as where its provider is.
        given = {name: getattr(call, name) for name in call.model_fields_set}
        return own.model_copy(update={name: value for name, value in given.items() if value is not None})

    def _warn_engines_own(self, call: RemoteParams | None) -> None:
        """Name what a call asks for and cannot have, as all calls of an engine share one controller."""
        if call is None or self._remote_params is None:
            return
        asked = call.model_fields_set & _ENGINES_OWN
        ignored = sorted(name for name in asked if getattr(call, name) != getattr(self._remote_params, name))
        if ignored:
            log.warning("remote_params.%s: set when the engine is made, for all its calls; ignored", ", ".join(ignored))

    def _gate(self) -> Gate:
        """This loop's gate; loops share only the endpoint's state."""
        loop = asyncio.get_running_loop()
        with self._lock:
            gate = self._gates.get(loop)
        if gate is None:
            politeness = self._remote_params.politeness_policy if self._remote_params is not None else 0.0
            gate = Gate(self._endpoint, self._lock, self._clock, politeness)
            with self._lock:
                self._gates[loop] = gate
        return gate

    def _unsupported(self, generation: GenerationParams) -> frozenset[str]:
        """The parameters that were set but that this engine does not support."""
        defaults, unsupported = GenerationParams(), GenerationParams.model_fields.keys() - self.get_supported_params()
        return frozenset(name for name in unsupported if getattr(generation, name) != getattr(defaults, name))

    def _warn_dropped(self, dropped: frozenset[str]) -> None:
        if dropped:
            log.warning(
                "%s does not support %s: ignored. It supports: %s.",
                type(self).__name__,
                ", ".join(sorted(dropped)),
                ", ".join(sorted(self.get_supported_params() - dropped)),
            )


def _check_types(conversation: object, config: object) -> None:
    if not isinstance(conversation, Conversation):
        raise InputError(f"agenerate takes one Conversation (found {type(conversation).__name__})")
    if not isinstance(config, InferenceConfig | None):
        raise ConfigError(f"inference_config should be an InferenceConfig (found {type(config).__name__})")
    check(conversation)


def _is_same(one: InferenceConfig | None, other: InferenceConfig | None) -> bool:
    """Whether two configs have the same values and the same explicit fields: only those override the engine's."""
    if one is None or other is None:
        return one is other
    return one == other and _explicit(one) == _explicit(other)


def _explicit(config: InferenceConfig) -> list[set[str]]:
    groups = (config, config.model, config.generation, config.remote_params)
    return [group.model_fields_set for group in groups if group is not None]


def _source(input: Sequence[Conversation] | None, config: InferenceConfig | None) -> Source | None:
    """Where the rows come from; None for an empty list, which needs no run."""
    path = config.input_path if config is not None else None
    if input is not None:
        if isinstance(input, Conversation):
            raise InputError("input is a list of conversations; for one, pass [conversation]")
        return ListSource(list(input)) if input else None
    if path is None:
        raise ConfigError("there is nothing to run: pass input=[...] or set input_path")
    return _file(path)


def _file(path: str) -> FileSource:
    return FileSource(expanded(path, "input_path"))


def _unable(why: str) -> Callable[[Request], Awaitable[Completion]]:
    """Answers no row, for a reason that is in the settings."""

    async def generate(_: Request) -> Completion:
        raise EngineConfigError(why, error_type=InferenceErrorType.CONFIG)

    return generate


def _path(given: str | Path | None, setting: str) -> Path | None:
    """The absolute path, so that a later change of the working directory has no effect. `~` is the user's home.

    Raises:
        ConfigError: no file can have this path.
    """
    if given is None:
        return None
    path = expanded(given, setting)
    folder, name = os.path.split(given)
    if folder and name in ("", "."):
        raise ConfigError(f"{setting}: {os.fspath(given)} is the path of a folder; give the path of a file to write")
    with as_config_error(path, setting):
        return path.absolute()


def _failed(result: InferenceResult, saved_in: Path | None) -> str:
    shown = [f"  row {index}: {detail.error_message}" for index, detail in list(result.failures.items())[:3]]
    total = len(result.successful) + len(result.failures)
    where = f" and saved in {saved_in}" if saved_in is not None else ""
    return "\n".join(
        [
            f"{len(result.failures)} of {total} rows failed:",
            *shown,
            f"The others are in `.result`{where}. Run the same again to retry those that failed.",
        ]
    )
