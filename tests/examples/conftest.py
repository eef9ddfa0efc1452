"""What the tests of the examples share."""

from __future__ import annotations

import pytest

from asyncinfer.config import engine_type
from asyncinfer.engines import registry


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is known to one test only."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(engine_type, "_added", set())
