"""What the command line writes to stderr: log records, and messages for a person.

A terminal gets coloured text. Anything else gets one line per log record, with time and level, so that a file of it can
be searched. With `--log-format json`, every line is a JSON object, messages included.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from rich.console import Console
from rich.logging import RichHandler

_FIELDS = "asyncinfer_fields"
# Messages of the command line itself are shown whatever the log level is.
_messages = logging.getLogger("asyncinfer.cli")


def configure_logging(level: str, log_format: str) -> None:
    """Write the records of this package to stderr, and the warnings of libraries that nothing else writes.

    Args:
        level: The lowest level that is written, such as `warning`.
        log_format: `text` or `json`.
    """
    log = logging.getLogger("asyncinfer")
    log.setLevel(level.upper())
    log.addHandler(_handler(log_format))
    logging.lastResort = _handler(log_format)
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.addFilter(_shows_exporters_once())
    _messages.setLevel(logging.INFO)


def show_retries() -> None:
    """Show why the first answer is late: each failed attempt that is followed by another one."""
    _show_all_of("asyncinfer.retries")


def show_reports() -> None:
    """Show where the report of a run was written."""
    _show_all_of("asyncinfer.report")


def _show_all_of(logger: str) -> None:
    if logging.getLogger("asyncinfer").level <= logging.WARNING:
        logging.getLogger(logger).setLevel(logging.INFO)


def say(text: str, **fields: Any) -> None:
    """Write a message for a person. It is lost if the terminal is closed: that does not end the command.

    Args:
        fields: Values for the JSON object. Text does not contain them.
    """
    if is_json():
        _messages.info("%s", text.strip(), extra={_FIELDS: fields})
    else:
        _print(text)


def say_error(text: str, **fields: Any) -> None:
    """Write the error that ends the command. `fields` as in `say`."""
    if is_json():
        _messages.error("%s", text, extra={_FIELDS: fields})
    else:
        _print(f"asyncinfer: {text}")


def _print(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def log_progress(text: str, **fields: Any) -> None:
    """Write a line of progress as a log record. `fields` as in `say`."""
    _messages.info("%s", text, extra={_FIELDS: fields})


def _handler(log_format: str) -> logging.Handler:
    if log_format == "text" and sys.stderr.isatty():
        return RichHandler(console=Console(stderr=True), show_time=False, show_path=False, markup=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    return handler


def _shows_exporters_once() -> Callable[[logging.LogRecord], bool]:
    """A filter for the exporters of OpenTelemetry, which log each attempt to reach a collector."""
    is_shown = False

    def filter_record(record: logging.LogRecord) -> bool:
        nonlocal is_shown
        if not record.name.startswith("opentelemetry.exporter"):
            return True
        if is_shown:
            return False
        is_shown = True
        text = record.getMessage().rstrip(".")
        record.msg, record.args = "OpenTelemetry: %s. This does not affect the rows, and is shown only once", (text,)
        return True

    return filter_record


def is_json() -> bool:
    """Whether stderr gets JSON lines."""
    return any(isinstance(handler.formatter, _JsonLines) for handler in logging.getLogger("asyncinfer").handlers)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


class _TextLines(logging.Formatter):
    """One line per record: time, level, message. A line break inside a record is written as `\\n`."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{_time(record)} {record.levelname} {text}".replace("\r", "\\r").replace("\n", "\\n")


class _JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return to_json(line, fallback=str, inf_nan_mode="null").decode()
        except ValueError:  # A text with half a surrogate pair, such as a file name that is not UTF-8.
            return json.dumps(line, default=str)
