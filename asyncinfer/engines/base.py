"""The blocking twins of an engine's async methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from asyncinfer.aio import portal
from asyncinfer.aio.background_iterator import BackgroundIterator
from asyncinfer.config import InferenceConfig
from asyncinfer.run.events import Observer
from asyncinfer.run.progress import OnProgress
from asyncinfer.run.stop import Stop
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult, RunSummary, StreamDelta


class BlockingMethods:
    """Each method runs its async twin, whose name begins with `a`, on an event loop in a thread of its own."""

    @abstractmethod
    async def agenerate(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> Conversation: ...

    @abstractmethod
    async def ainfer(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
    ) -> list[Conversation]: ...

    @abstractmethod
    async def ainfer_partial(
        self,
        input: Sequence[Conversation] | None = None,
        inference_config: InferenceConfig | None = None,
        *,
        progress_path: str | Path | None = None,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
    ) -> InferenceResult: ...

    @abstractmethod
    async def arun(
        self,
        inference_config: InferenceConfig,
        *,
        on_progress: OnProgress | None = None,
        observers: Sequence[Observer] = (),
        stop: Stop | None = None,
    ) -> RunSummary: ...

    @abstractmethod
    def astream(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> BackgroundIterator[StreamDelta]: ...

    @abstractmethod
    async def alist_models(self, chat_only: bool = True) -> list[str]: ...

    @abstractmethod
    async def aclose(self) -> None: ...

    def generate(self, conversation: Conversation, inference_config: InferenceConfig | None = None) -> Conversation:
        """The blocking twin of `agenerate`."""
        return portal.call(partial(self.agenerate, conversation, inference_config))

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
    ) -> RunSummary:
        """The blocking twin of `arun`."""
        return portal.call(
            partial(self.arun, inference_config, on_progress=on_progress, observers=observers, stop=stop)
        )

    def stream(
        self, conversation: Conversation, inference_config: InferenceConfig | None = None
    ) -> Iterator[StreamDelta]:
        """The blocking twin of `astream`."""
        return portal.iterate(partial(self.astream, conversation, inference_config))

    def list_models(self, chat_only: bool = True) -> list[str]:
        """The blocking twin of `alist_models`."""
        return portal.call(partial(self.alist_models, chat_only))

    def close(self) -> None:
        """The blocking twin of `aclose`. A destructor may call it: during interpreter shutdown it does nothing."""
        portal.run_cleanup(self.aclose)
