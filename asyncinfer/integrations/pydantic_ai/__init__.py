"""PydanticAI: an engine as a model of its agents. Needs `pip install 'asyncinfer[pydantic-ai]'`.

Written for pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from importlib.util import find_spec

from asyncinfer.errors import MissingDependencyError

if find_spec("pydantic_ai") is None:
    raise MissingDependencyError("pydantic-ai-slim", "pydantic-ai")

from asyncinfer.integrations.pydantic_ai.model import AsyncInferModel

__all__ = ["AsyncInferModel"]
