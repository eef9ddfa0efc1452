"""How the llama.cpp modules get at `llama_cpp`, and where its log goes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from asyncinfer.errors import ConfigError, MissingDependencyError

log = logging.getLogger("asyncinfer.llama_cpp")

_ERROR_LEVEL = 4
_FIRST_WITH_IMAGES = "0.3.22"
_complaints: deque[str] = deque(maxlen=3)


@cache
def api() -> Any:
    """The module `llama_cpp`, which then leaves this process's stdout and stderr alone."""
    module = import_module("llama_cpp")
    # It would point stdout and stderr of the whole process at /dev/null while it loads a model, and
    # with them whatever the program's other threads print. The log callback is all that is needed.
    for name in ("llama_cpp.llama", "llama_cpp._internals"):
        import_module(name).suppress_stdout_stderr = _leave_streams_alone  # type: ignore[attr-defined]
    return module


def mtmd() -> Any:
    """The module of llama.cpp's multimodal library."""
    return import_module("llama_cpp.mtmd_cpp")


def check_images() -> None:
    """Raise a ConfigError if the installed packages cannot read images."""
    if find_spec("PIL") is None:
        raise MissingDependencyError("pillow", "llamacpp")
    try:
        able = hasattr(mtmd(), "mtmd_bitmap_set_id")
    except Exception as error:
        raise ConfigError(f"model.model_kwargs.mmproj: llama-cpp-python has no working libmtmd: {error}") from error
    if not able:
        raise ConfigError(
            f"model.model_kwargs.mmproj: llama-cpp-python {api().__version__} is too old for images; "
            f"run: pip install -U 'llama-cpp-python>={_FIRST_WITH_IMAGES}'"
        )


def complaints() -> str:
    """The errors that llama.cpp logged last; empty if none."""
    return "; ".join(_complaints)


def direct_log(verbose: bool) -> None:
    """Send llama.cpp's log to stderr, or to our logger at level debug. There is one log for the process."""
    _complaints.clear()
    api().llama_log_set(log_callback(verbose), None)


def log_callback(verbose: bool) -> Any:
    """What writes a line of a log to stderr, or to our logger."""
    return import_module("llama_cpp._logger").llama_log_callback if verbose else _our_log()


@contextmanager
def _leave_streams_alone(disable: bool = True) -> Generator[None]:
    yield


@cache
def _our_log() -> Any:
    def receive(level: int, text: bytes, _: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR_LEVEL and line:
            _complaints.append(line)
        if line:
            log.debug("%s", line)

    return api().llama_log_callback(receive)
