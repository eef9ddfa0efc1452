"""What an engine is asked: one conversation, and the settings in effect for it."""

from __future__ import annotations

from typing import NamedTuple

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.types.conversation import Conversation


class Request(NamedTuple):
    """One row for an engine to answer. `stream`: somebody reads the tokens as they come."""

    conversation: Conversation
    generation: GenerationParams
    model: ModelParams
    stream: bool = False
