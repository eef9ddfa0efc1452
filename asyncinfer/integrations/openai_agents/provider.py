"""A provider of models: one engine under any model name."""

from __future__ import annotations

from agents.models.interface import Model, ModelProvider

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.openai_agents.model import AsyncInferModel


class AsyncInferProvider(ModelProvider):
    """Answers for every agent of a run with one engine, as `RunConfig(model_provider=...)`.

    An agent that names a model uses that model at the API of the engine; other agents use the engine's own model. All
    share the engine's permits and limits. The caller closes the engine.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: BaseInferenceEngine) -> None:
        self._engine = engine
        self._models: dict[str | None, Model] = {}

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of this name; the engine's own model for None."""
        if model_name not in self._models:
            self._models[model_name] = AsyncInferModel(self._engine, model=model_name)
        return self._models[model_name]
