"""LangChain's standard unit tests."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from langchain_tests.unit_tests import ChatModelUnitTests

from asyncinfer.integrations.langchain import AsyncInferChatModel

LOAD = sys.modules["langchain_core.load.load"]  # `langchain_core.load.load` is also the name of a function.
CLASS = ("asyncinfer", "integrations", "langchain", "AsyncInferChatModel")


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
class TestUnit(ChatModelUnitTests):
    """Skipped by the suite itself: test_init_from_env, because a key is read from the environment for each request, and
    the constructor keeps nothing of it."""

    @pytest.fixture(autouse=True)
    def _loadable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The suite loads with `allowed_objects="all"`, which allows only the classes in langchain-core's own table."""
        monkeypatch.setattr(LOAD, "_default_class_paths_cache", {})
        monkeypatch.setitem(LOAD.ALL_SERIALIZABLE_MAPPINGS, CLASS, CLASS)

    @property
    def chat_model_class(self) -> type[AsyncInferChatModel]:
        return AsyncInferChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": {"engine": "OPENAI", "model": {"model_name": "gpt-test"}}}
