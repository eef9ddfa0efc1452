"""The engine of a call whose settings cannot work."""

from __future__ import annotations

from asyncinfer.errors import EngineConfigError, InferenceErrorType
from asyncinfer.run.bound_engine import BoundEngine
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation


class UnusableEngine(BoundEngine):
    """Answers no row: each one fails with the error of the settings.

    Args:
        problem: What is wrong with the settings.
    """

    def __init__(self, problem: str) -> None:
        self._problem = problem

    async def generate(self, conversation: Conversation) -> Completion:
        raise EngineConfigError(self._problem, error_type=InferenceErrorType.CONFIG)
