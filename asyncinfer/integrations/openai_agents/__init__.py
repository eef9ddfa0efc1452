"""OpenAI Agents SDK: an engine as a model of its agents. Needs `pip install 'asyncinfer[openai-agents]'`.

Written for openai-agents 0.24, November 2026.
"""

from __future__ import annotations

from importlib.util import find_spec

from asyncinfer.errors import MissingDependencyError

if find_spec("agents") is None:
    raise MissingDependencyError("openai-agents", "openai-agents")

from asyncinfer.integrations.openai_agents.model import AsyncInferModel
from asyncinfer.integrations.openai_agents.provider import AsyncInferProvider

__all__ = ["AsyncInferModel", "AsyncInferProvider"]
