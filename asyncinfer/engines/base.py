"""The base class of all engines: the async methods, and their blocking twins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from asyncinfer.aio import portal
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.async_methods import AsyncMethods
from asyncinfer.run.events import Observer
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult, RunSummary, StreamDelta

if TYPE_CHECKING:
    from asyncinfer.engines.spec import EngineSpec


class BaseInferenceEngine(AsyncMethods):
    """Runs chat models through one interface. Every `a` method has a blocking twin without the `a`.

    A twin runs its async method on an event loop in a thread of its own. An engine may be used from several event loops
    and threads at once, and again after it was closed.
    """

    @property
    def spec(self) -> EngineSpec:
        """The picklable description of this engine, from which another process builds an equal one."""
        from asyncinfer.engines.spec import spec_of  # The registry, which `spec` imports, imports this module.

        config = InferenceConfig(
            model=self._model_params, generation=self._generation_params, remote_params=self._remote_params
        )
        return spec_of(type(self), config)

    def generate(
        self,
        conversation: Conversation,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
    ) -> Conversation:
        """The blocking twin of `agenerate`."""
        return portal.call(partial(self.agenerate, conversation, inference_config, stop=stop))

    def infer(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
    ) -> list[Conversation]:
        """The blocking twin of `ainfer`."""
        return portal.call(
            partial(self.ainfer, input, inference_config, on_progress=on_progress, observers=observers, stop=stop)
        )

    def infer_partial(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        progress_path: str | Path | None = None,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
    ) -> InferenceResult:
        """The blocking twin of `ainfer_partial`."""
        return portal.call(
            partial(
                self.ainfer_partial,
                input,
                inference_config,
                progress_path=progress_path,
                on_progress=on_progress,
                observers=observers,
                stop=stop,
            )
        )

    def run(
        self,
        inference_config: InferenceConfig,
        *,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
        relax_gc: bool = True,
    ) -> RunSummary:
        """The blocking twin of `arun`."""
        return portal.call(
            partial(
                self.arun,
                inference_config,
                on_progress=on_progress,
                observers=observers,
                stop=stop,
                relax_gc=relax_gc,
            )
        )

    def stream(
        self,
        conversation: Conversation,
        inference_config: InferenceConfig | None = None,
        *,
        stop: Stop | None = None,
    ) -> Iterator[StreamDelta]:
        """The blocking twin of `astream`."""
        return portal.iterate(partial(self.astream, conversation, inference_config, stop=stop))

    def list_models(self, chat_only: bool = True) -> list[str]:
        """The blocking twin of `alist_models`."""
        return portal.call(partial(self.alist_models, chat_only))

    def close(self) -> None:
        """The blocking twin of `aclose`. A destructor may call it: during interpreter shutdown it does nothing."""
        portal.run_cleanup(self.aclose)
