"""Keeps what repeated calls with the same config share."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.settings import is_same
from asyncinfer.run.access import EngineAccess
from asyncinfer.scratch.keys import RowKeys

# The configs whose access is kept, for each event loop.
_MOST_KEPT = 16


class Prepared(NamedTuple):
    """What all calls with one config share: the access to the engine, and the keys of rows."""

    access: EngineAccess
    keys: RowKeys


class _Kept(NamedTuple):
    """What was prepared for a config, and a copy of the config that shows whether it has changed."""

    config: InferenceConfig | None
    prepared: Prepared


class AccessCache:
    """What calls share, for each config and event loop. Safe to use from several threads.

    Args:
        make: Prepares a config.
    """

    def __init__(self, make: Callable[[InferenceConfig], Awaitable[Prepared]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[int, _Kept]] = WeakKeyDictionary()
        self._making: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def find(self, config: InferenceConfig | None) -> Prepared | None:
        """What was prepared for `config`, if the config is unchanged."""
        kept = self._kept.get(asyncio.get_running_loop())
        if kept is None:
            return None
        found = kept.get(id(config))
        return found.prepared if found is not None and is_same(found.config, config) else None

    async def make(self, config: InferenceConfig | None) -> Prepared:
        """Prepare `config`. Calls that come meanwhile share the result.

        Raises:
            ConfigError: A setting is wrong.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            making = self._making.setdefault(loop, asyncio.Lock())
        async with making:
            found = self.find(config)
            if found is not None:
                return found
            # A copy, since the caller may change the config later.
            copy = config.model_copy(deep=True) if config is not None else None
            prepared = await self._make(copy or InferenceConfig())
            with self._lock:
                kept = self._kept.setdefault(loop, OrderedDict())
            kept[id(config)] = _Kept(copy, prepared)
            kept.move_to_end(id(config))
            if len(kept) > _MOST_KEPT:
                kept.popitem(last=False)
            return prepared

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
