"""The setup of a call: its settings in effect, prepared once for all calls with the same config."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from copy import deepcopy
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from pydantic_core import to_json

from asyncinfer.aio.event_loop import running_loop
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.settings import is_same, with_response_model
from asyncinfer.run.access import EngineAccess
from asyncinfer.scratch.keys import RowKeys

# How many configs keep their setup, for each event loop: those that were used last. An application may have an output
# schema for each of its agents.
MOST_KEPT = 256


class CallSetup(NamedTuple):
    """What all calls with one config share: the engine with their settings, and the keys of their rows."""

    access: EngineAccess
    keys: RowKeys


# The id of a config, and the model of the answers.
_Key = tuple[int, Hashable]


class _Kept(NamedTuple):
    """The setup for a config, and a copy of the config that shows whether it has changed."""

    config: InferenceConfig | None
    setup: CallSetup


class CallSetupCache:
    """Keeps the setup for each config and event loop. Safe to use from several threads.

    Args:
        make: Makes the setup for a config.
    """

    def __init__(self, make: Callable[[InferenceConfig], Awaitable[CallSetup]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._kept: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[_Key, _Kept]] = WeakKeyDictionary()
        self._making: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def find(self, config: InferenceConfig | None, response_model: Any = None) -> CallSetup | None:
        """The setup for `config`. None if it must be made, because the config is new or has changed.

        Args:
            response_model: The model of the answers, in place of that of the config; None: that of the config.
        """
        kept = self._kept.get(running_loop())
        if kept is None:
            return None
        key = _key(config, response_model)
        found = kept.get(key)
        if found is None or not is_same(found.config, config):
            return None
        kept.move_to_end(key)
        return found.setup

    async def make(self, config: InferenceConfig | None, response_model: Any = None) -> CallSetup:
        """Make the setup for `config`. Calls that come meanwhile share it.

        Raises:
            ConfigError: A setting is wrong.
        """
        loop = running_loop()
        with self._lock:
            making = self._making.setdefault(loop, asyncio.Lock())
        async with making:
            found = self.find(config, response_model)
            if found is not None:
                return found
            # A copy, since the caller may change the config later.
            copy = _copied(config) if config is not None else None
            setup = await self._make(with_response_model(copy or InferenceConfig(), response_model))
            with self._lock:
                kept = self._kept.setdefault(loop, OrderedDict())
            key = _key(config, response_model)
            kept[key] = _Kept(copy, setup)
            kept.move_to_end(key)
            if len(kept) > MOST_KEPT:
                kept.popitem(last=False)
            return setup

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


def _copied(config: InferenceConfig) -> InferenceConfig:
    """A deep copy, with the same type of the answers: a copy of an annotated type would be another type."""
    model = config.generation.response_model
    return deepcopy(config, {} if model is None or isinstance(model, dict) else {id(model): model})


class _Same(NamedTuple):
    """A key that is equal only to keys of the same object."""

    type: Any

    def __hash__(self) -> int:
        return id(self.type)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.type is other.type


def _key(config: InferenceConfig | None, response_model: Any) -> _Key:
    if isinstance(response_model, dict):  # A schema is no key of a dict, and may change.
        return id(config), to_json(response_model, fallback=str)
    try:
        hash(response_model)
    except TypeError:  # Such as `Annotated[int, Field(gt=0)]`.
        return id(config), _Same(response_model)
    return id(config), response_model
