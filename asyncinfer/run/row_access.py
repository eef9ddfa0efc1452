"""The interface that prepares the settings of single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.conversation import Conversation

if TYPE_CHECKING:
    from asyncinfer.run.access import EngineAccess


class RowSettingsError(InputError, ConfigError):
    """The settings of one row are wrong. Only this row fails."""


class RowAccess(Protocol):
    """Prepares the settings of rows that have a `generation` or a `model_name` of their own."""

    def settings(self, conversation: Conversation) -> CallSettings:
        """Return the settings in effect for a row.

        Raises:
            RowSettingsError: They are wrong.
        """
        ...

    def access(self, conversation: Conversation) -> EngineAccess:
        """Return how a row reaches the engine.

        Raises:
            RowSettingsError: Its settings are wrong.
            ConfigError: The engine does not support them.
        """
        ...
