"""What an engine is asked: one conversation, and the settings in effect for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.control.endpoint import Attempt
from asyncinfer.types.conversation import Conversation


class Request(NamedTuple):
    """One row for an engine to answer. `prepared`: what the engine made of the settings, once for all rows of a
    call. `attempt`: the permit it is asked under. `stream`: somebody reads the tokens as they come.
    """

    conversation: Conversation
    generation: GenerationParams
    model: ModelParams
    prepared: Any = None
    attempt: Attempt | None = None
    stream: bool = False
