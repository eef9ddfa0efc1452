"""What the command line writes to stderr besides its own records."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from asyncinfer.cli.messages import configure_logging

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Configures logging with a format, in a process whose root logger has no handlers."""
    log = logging.getLogger("asyncinfer")
    level, handlers = log.level, [*log.handlers]
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)

    def configure_in_test(log_format: str) -> None:
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest adds its own before each test.
        configure_logging("warning", log_format)

    yield configure_in_test
    log.handlers[:] = handlers
    log.setLevel(level)


def test_warning_of_a_library_is_a_json_line_too(
    configure: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    configure("json")
    logging.getLogger("some.library").warning("it is %s", "odd")
    logging.getLogger("some.library").info("all is well")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "it is odd"


def test_collector_that_cannot_be_reached_is_reported_once(
    configure: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    configure("text")
    for seconds in (1.1, 2.3):
        logging.getLogger(EXPORTER).warning("Transient error %s, retrying in %.2fs.", "refused", seconds)
    logging.getLogger(EXPORTER).error("Failed to export spans batch.")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "WARNING OpenTelemetry: Transient error refused, retrying in 1.10s. "
        "This does not affect the rows, and is shown only once"
    )
