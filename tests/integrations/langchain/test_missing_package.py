"""Without LangChain, the adapter says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest

from asyncinfer import MissingDependencyError


def test_missing_langchain_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("asyncinfer.integrations.langchain")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'asyncinfer\[langchain\]'"):
        importlib.import_module("asyncinfer.integrations.langchain")
