"""The base class of all engines: the async methods, and their blocking twins."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from asyncinfer.aio import portal
from asyncinfer.aio.tasks import clean_up, clean_up_after
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.batch_blocking import BatchMethods
from asyncinfer.engines.chat_blocking import ChatMethods
from asyncinfer.engines.rows_blocking import RowMethods

if TYPE_CHECKING:
    from asyncinfer.engines.spec import EngineSpec


class BaseInferenceEngine(ChatMethods, RowMethods, BatchMethods):
    """Runs chat models through one interface. Every `a` method has a blocking twin without the `a`.

    A twin runs its async method on an event loop in a thread of its own. An engine may be used from several event loops
    and threads at once, and again after it was closed. A subclass binds settings; `asyncinfer.run` does the rest.
    """

    @property
    def spec(self) -> EngineSpec:
        """The picklable description of this engine, from which another process builds an equal one."""
        from asyncinfer.engines.spec import spec_of  # The registry, which `spec` imports, imports this module.

        config = InferenceConfig(
            model=self._model_params, generation=self._generation_params, remote_params=self._remote_params
        )
        return spec_of(type(self), config)

    async def alist_models(self, chat_only: bool = True) -> list[str]:
        """List the models that this engine can answer with.

        Args:
            chat_only: Leave out models that cannot chat, as far as the list shows it.

        Raises:
            RequestError: The endpoint did not list its models.
            ConfigError: A setting is wrong.
        """
        return [self._model_params.model_name] if self._model_params.model_name else []

    def list_models(self, chat_only: bool = True) -> list[str]:
        """List the models that this engine can answer with.

        Blocks; `alist_models` is the async method.

        Args:
            chat_only: Leave out models that cannot chat, as far as the list shows it.

        Raises:
            RequestError: The endpoint did not list its models.
            ConfigError: A setting is wrong.
        """
        return portal.call(partial(self.alist_models, chat_only))

    async def aclose(self) -> None:
        """Free the model or the connections, and close the cache."""
        self._setups.clear()
        async with clean_up_after(self._caches.aclose) if self._caches.are_open else nullcontext():
            await self._close()

    def close(self) -> None:
        """Free the model or the connections, and close the cache. An engine that is used again opens them again.

        Blocks; `aclose` is the async method. A destructor may call it: during interpreter shutdown it does nothing.
        """
        portal.run_cleanup(self.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await clean_up(error, self.aclose)
