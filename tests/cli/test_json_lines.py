"""The lines of JSON that the command line writes to stderr."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from asyncinfer.cli.messages import configure_logging, say, say_error


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to stderr with `--log-format json`."""
    log, root = logging.getLogger("asyncinfer"), logging.getLogger()
    before = log.level, list(log.handlers), log.propagate, list(root.handlers)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root.handlers = []
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    configure_logging("warning", "json")
    yield stream
    log.level, log.handlers, log.propagate, root.handlers = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_exception_is_a_part_of_its_line(stderr: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("asyncinfer").exception("it failed")
    [line] = lines(stderr)
    assert (line["message"], line["level"]) == ("it failed", "ERROR")
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize(
    "value", ["\ud800", float("nan"), float("inf"), b"\xff", object(), {1: "\udc80"}, ["\n", "\x1b"]]
)
def test_every_value_makes_a_line_of_json(stderr: io.StringIO, value: Any) -> None:
    say(f"{value}", field=value)
    say_error(f"{value}\n{value}", field=value)
    logging.getLogger("asyncinfer").warning("%s", value)
    assert len(lines(stderr)) == 3


def test_records_of_the_package_are_written_once(stderr: io.StringIO) -> None:
    logging.getLogger("asyncinfer.control").warning("slow")
    assert [line["message"] for line in lines(stderr)] == ["slow"]
