"""examples/custom_provider.py: an API that the package does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import ModuleType

import pytest

from asyncinfer import ConfigError
from asyncinfer.providers.catalog import CATALOG
from tests.examples.programs import load
from tests.faults import FaultServer


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as server:
        yield server


@pytest.fixture
def example(server: FaultServer, monkeypatch: pytest.MonkeyPatch, unregistered: None) -> ModuleType:
    """The program, with the URL of the server."""
    program = load("custom_provider.py")
    local = replace(program.DEEPINFRA, url=f"{server.url}/chat/completions")
    monkeypatch.setattr(program, "DEEPINFRA", local)
    monkeypatch.setenv("DEEPINFRA_API_KEY", "a key")
    return program


def test_package_does_not_have_the_provider() -> None:
    assert "DEEPINFRA" not in CATALOG


async def test_question_is_answered_with_the_key(
    example: ModuleType, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await example.main("my-model", "Who are you?")
    assert capsys.readouterr().out == "answer to Who are you?\n"
    [ask] = server.asks
    assert (ask.headers["Authorization"], ask.body["model"]) == ("Bearer a key", "my-model")


async def test_models_are_listed(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    await example.main()
    assert capsys.readouterr().out == "chatty\ntext-embedding-x\n"


async def test_missing_key_is_explained(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPINFRA_API_KEY")
    with pytest.raises(ConfigError, match="set the environment variable DEEPINFRA_API_KEY"):
        await example.main("my-model")
