"""LangChain: an engine as a chat model. Needs `pip install 'asyncinfer[langchain]'`.

Written for langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from importlib.util import find_spec

from asyncinfer.errors import MissingDependencyError

if find_spec("langchain_core") is None:
    raise MissingDependencyError("langchain-core", "langchain")

from asyncinfer.integrations.langchain.chat_model import AsyncInferChatModel

__all__ = ["AsyncInferChatModel"]
