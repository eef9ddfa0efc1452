"""What an engine is asked: one conversation, and the settings in effect for it."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.types.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Request:
    """One row for an engine to answer. `stream`: somebody reads the tokens as they come."""

    conversation: Conversation
    generation: GenerationParams
    model: ModelParams
    stream: bool = False
