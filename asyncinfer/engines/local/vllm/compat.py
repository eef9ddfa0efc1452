"""How the vLLM modules get at `vllm`, and where its log goes, which by default it prints to stdout."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

log = logging.getLogger("asyncinfer.vllm")

# With one of these the user decides about vLLM's log.
_SETTINGS = ("VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_CONFIG_PATH", "VLLM_LOGGING_LEVEL")


class _Forward(logging.Handler):
    """To our logger, at level debug, as the program's user asked for none of it; errors as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.ERROR else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "%s", record.getMessage(), exc_info=record.exc_info)


@cache
def api(name: str) -> Any:
    """A module of vLLM, whose log then comes to ours."""
    with led_to_our_log():
        return import_module(name)


@contextmanager
def led_to_our_log() -> Generator[None]:
    """Inside, `vllm` may be imported and a model loaded: what vLLM logs comes to our logger, unless the user set up
    its log, or imported it before.
    """
    if not _ours() or "VLLM_CONFIGURE_LOGGING" in os.environ:
        yield
        return
    os.environ["VLLM_CONFIGURE_LOGGING"] = "0"
    try:
        yield
    finally:
        del os.environ["VLLM_CONFIGURE_LOGGING"]


@cache
def _ours() -> bool:
    if "vllm" in sys.modules or any(name in os.environ for name in _SETTINGS):
        return False
    theirs = logging.getLogger("vllm")
    if not theirs.handlers:
        theirs.addHandler(_Forward())
        theirs.propagate = False
        theirs.setLevel(logging.INFO)
    return True
