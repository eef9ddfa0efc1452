"""Settings of single rows: the keys `generation` and `model_name` of a conversation override those of the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import to_json

from asyncinfer.config import GenerationParams, ModelParams, merged
from asyncinfer.config.problems import problems_in
from asyncinfer.errors import ConfigError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.answer_check import AnswerCheck
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.row_access import RowSettingsError
from asyncinfer.scratch.keys import RowKeys, RowKeysMaker
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.lru_cache import LRUCache

# How many different settings of rows are kept. Rows with others are prepared again.
_MOST_KEPT = 256


class EngineSettings(NamedTuple):
    """An engine bound to settings, and what its calls need besides.

    Args:
        engine: The bound engine.
        sent: The settings as they are sent.
        check: Checks the answers; None if every answer is a success.
        dropped: The parameters that are set, but that the engine or the model does not support.
    """

    engine: BoundEngine
    sent: CallSettings
    check: AnswerCheck | None
    dropped: tuple[str, ...]


class RowSettings:
    """Prepares the settings of rows that have their own. Equal settings are prepared once. Thread-safe.

    Args:
        call: The settings of the call, in effect where a row sets none.
        access: How rows without settings of their own reach the engine.
        keys_for: Returns what makes the keys of rows with the given parameters.
        with_model_name: Returns the model parameters with another name. Raises ConfigError if the engine cannot.
        bind: Makes what an engine needs for some settings.
    """

    def __init__(
        self,
        call: CallSettings,
        access: EngineAccess,
        keys_for: RowKeysMaker,
        with_model_name: Callable[[ModelParams, str], ModelParams],
        bind: Callable[[CallSettings], EngineSettings],
    ) -> None:
        self._call, self._access, self._keys_for = call, access, keys_for
        self._with_model_name, self._bind = with_model_name, bind
        self._kept_settings = LRUCache[bytes, CallSettings](_MOST_KEPT)
        self._kept_access = LRUCache[bytes, EngineAccess](_MOST_KEPT)
        self._kept_keys = LRUCache[bytes, RowKeys](_MOST_KEPT)

    def settings(self, conversation: Conversation) -> CallSettings:
        """Return the settings in effect for a row.

        Raises:
            RowSettingsError: They are wrong.
        """
        return self._kept_settings.get(_key(conversation), lambda: self._read(conversation))

    def access(self, conversation: Conversation) -> EngineAccess:
        """Return how a row reaches the engine.

        Raises:
            RowSettingsError: Its settings are wrong.
            ConfigError: The engine does not support them.
        """
        return self._kept_access.get(_key(conversation), lambda: self._new_access(self.settings(conversation)))

    def keys(self, conversation: Conversation) -> RowKeys:
        """Return what makes the key of a row. Raises as `settings` does."""

        def make() -> RowKeys:
            settings = self.settings(conversation)
            return self._keys_for(settings.model, settings.generation)

        return self._kept_keys.get(_key(conversation), make)

    def _new_access(self, settings: CallSettings) -> EngineAccess:
        engine, sent, check, dropped = self._bind(settings)
        return replace(self._access, engine=engine, settings=sent, check=check, dropped=dropped)

    def _read(self, conversation: Conversation) -> CallSettings:
        model, generation, remote = self._call
        if conversation.generation is not None:
            generation = merged(generation, _generation(conversation.generation))
        name = conversation.model_name
        if name is not None:
            if not isinstance(name, str) or not name:
                raise RowSettingsError(f"model_name: should be the name of a model (found {name!r:.60})")
            try:
                model = self._with_model_name(model, name)
            except ConfigError as error:
                raise RowSettingsError(str(error)) from None
        return CallSettings(model, generation, remote)


def _key(conversation: Conversation) -> bytes:
    try:
        return to_json([conversation.generation, conversation.model_name])
    except ValueError as error:
        raise RowSettingsError(f"generation: cannot be written as JSON: {error}") from None


def _generation(given: Any) -> GenerationParams:
    """Return the generation parameters that a row sets.

    Raises:
        RowSettingsError: They are wrong. The message has all mistakes.
    """
    if not isinstance(given, Mapping):
        raise RowSettingsError(f"generation: should be a mapping of settings (found a {type(given).__name__})")
    values = dict(cast(Mapping[str, Any], given))
    if isinstance(values.get("response_model"), str):
        # The name of a class would let data import code.
        raise RowSettingsError("generation.response_model: should be a JSON schema in the settings of a row")
    try:
        return GenerationParams.model_validate(values)
    except ValidationError as error:
        problems = problems_in(error, GenerationParams)
    raise RowSettingsError("; ".join(f"generation.{problem}" for problem in problems.values()))
