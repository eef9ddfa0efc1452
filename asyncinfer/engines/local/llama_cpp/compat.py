"""Every access to what is not public API of llama-cpp-python, and the process-wide state of llama.cpp.

Checked on llama-cpp-python 0.3.36 (November 2026). Supported from 0.3.16 on, images from 0.3.22 on. Its low-level
functions (`llama_cpp.llama_*`, `mtmd_cpp.mtmd_*`), the class `Llama` and its documented attributes are public.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from asyncinfer.errors import ConfigError, MissingDependencyError

log = logging.getLogger("asyncinfer.llama_cpp")

# GGML_LOG_LEVEL_ERROR of ggml.h. (llama_cpp._logger has the numbers of an older ggml.)
_ERROR_LEVEL = 4
_FIRST_WITH_IMAGES = "0.3.22"
# The modules that use `suppress_stdout_stderr` while a model is loaded.
_SUPPRESSING = ("llama_cpp.llama", "llama_cpp._internals")


@cache
def api() -> Any:
    """The module `llama_cpp`."""
    is_new = "llama_cpp" not in sys.modules
    module = import_module("llama_cpp")
    if is_new:
        allow_open_files(import_module("llama_cpp._utils"))
    return module


@cache
def mtmd() -> Any:
    """The module of llama.cpp's multimodal library."""
    api()
    return import_module("llama_cpp.mtmd_cpp")


def allow_open_files(utils: Any) -> None:
    """Replace the files of /dev/null that `llama_cpp._utils` never closes by files that may stay open.

    Python warns of the others when the process exits. They cannot be closed before, because destructors use them.
    """
    for name in ("outnull_file", "errnull_file"):
        if (file := getattr(utils, name, None)) is not None:
            setattr(utils, name, os.fdopen(os.dup(file.fileno()), "w", closefd=False))
            file.close()


def check_images() -> None:
    """Raise a ConfigError if the installed packages do not support images."""
    if find_spec("PIL") is None:
        raise MissingDependencyError("pillow", "llamacpp")
    try:
        supported = hasattr(mtmd(), "mtmd_bitmap_set_id")
    except Exception as error:
        raise ConfigError(f"model.model_kwargs.mmproj: llama-cpp-python has no working libmtmd: {error}") from error
    if not supported:
        raise ConfigError(
            f"model.model_kwargs.mmproj: llama-cpp-python {api().__version__} is too old for images; "
            f"run: pip install -U 'llama-cpp-python>={_FIRST_WITH_IMAGES}'"
        )


# Private attributes of `llama_cpp.Llama`, and differences between releases


@cache
def llama_class() -> Any:
    """`llama_cpp.Llama`, or a subclass of it that does not use AMX if llama.cpp was compiled for it.

    The AMX code reads a tile configuration that GCC has removed as unused. On processors with AMX, the process crashes
    at the first prompt (llama.cpp's pull request 26954, open in August 2026).
    """
    base = api().Llama
    if b"AMX_INT8 = 1" not in api().llama_print_system_info():
        return base
    log.info("llama.cpp was compiled for AMX, whose code may crash the process; AMX is not used")

    class LlamaWithoutAmx(base):
        @property
        def model_params(self) -> Any:
            return self._without_amx

        @model_params.setter
        def model_params(self, params: Any) -> None:
            params.use_extra_bufts = False  # The buffers that AMX needs.
            self._without_amx = params

    return LlamaWithoutAmx


def close_own_context(llm: Any) -> None:
    """Free the context that `Llama` made for one sequence. `Llama` has no option to make none."""
    llm._ctx.close()


def lora_adapter(llm: Any) -> Any:
    """The adapter that `Llama` loaded; None if no adapter was given, a null pointer if it could not be loaded."""
    return llm._lora_adapter


def apply_lora(context: Any, adapter: Any, scale: float) -> None:
    """Apply an adapter to a context. `Llama` applies it only to its own context."""
    if hasattr(api(), "llama_set_adapters_lora"):
        adapters = (api().llama_adapter_lora_p_ctypes * 1)(adapter)
        api().llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(scale))
    else:  # Earlier releases.
        api().llama_set_adapter_lora(context, adapter, scale)


def set_text(input_text: Any, data: bytes) -> None:
    """Set the text of an `mtmd_input_text`."""
    input_text.text = data
    if hasattr(input_text, "text_len"):  # Earlier releases expect a null-terminated string.
        input_text.text_len = len(data)


# stdout and stderr

_loads = 0
_suppressors: dict[str, Any] = {}
_loads_lock = threading.Lock()


@contextmanager
def unsuppressed_output() -> Generator[None]:
    """Inside, `Llama` may load a model and does not redirect stdout and stderr of the process to /dev/null.

    The redirection would hide what other threads print meanwhile. The log callback is enough to keep llama.cpp quiet.
    """
    global _loads
    with _loads_lock:
        _loads += 1
        if _loads == 1:
            for name in _SUPPRESSING:
                module: Any = import_module(name)
                _suppressors[name] = module.suppress_stdout_stderr
                module.suppress_stdout_stderr = _suppress_nothing
    try:
        yield
    finally:
        with _loads_lock:
            _loads -= 1
            if _loads == 0:
                for name, suppressor in _suppressors.items():
                    setattr(import_module(name), "suppress_stdout_stderr", suppressor)  # noqa: B010


@contextmanager
def _suppress_nothing(disable: bool = True) -> Generator[None]:
    yield


# Log messages


class _ThreadLog(threading.local):
    """Where the messages of llama.cpp in one thread go.

    Attributes:
        verbose: True for stderr, False for our logger, None in threads that belong to no engine.
        errors: The latest error messages.
    """

    def __init__(self) -> None:
        self.verbose: bool | None = None
        self.errors = deque[str](maxlen=3)


_thread_log = _ThreadLog()
_engines = 0
_engines_lock = threading.Lock()


def attach_log(*, verbose: bool) -> Callable[[], None]:
    """Send the messages of llama.cpp in this thread to stderr, or to our logger at level DEBUG.

    llama.cpp has one callback for the process. It is replaced for the first model, and put back after the last one.
    Messages in threads of other code go to llama-cpp-python's callback, as before.

    Returns:
        A function that undoes this. It may be called in another thread. Only the first call has an effect.
    """
    global _engines
    _thread_log.verbose = verbose
    _thread_log.errors.clear()
    with _engines_lock:
        _engines += 1
        if _engines == 1:
            api().llama_log_set(_our_callback(), None)
    remaining = [None]

    def detach() -> None:
        global _engines
        if not remaining:
            return
        remaining.clear()
        _thread_log.verbose = None
        with _engines_lock:
            _engines -= 1
            if _engines == 0:
                _restore_callbacks()

    return detach


def attach_image_log() -> None:
    """Send the messages of llama.cpp's multimodal library to the same place. Undone with the last `attach_log`."""
    mtmd().mtmd_helper_log_set(_our_callback(), None)


def recent_errors() -> str:
    """The latest error messages of llama.cpp in this thread; empty without an error."""
    return "; ".join(_thread_log.errors)


def _restore_callbacks() -> None:
    api().llama_log_set(_their_callback(), ctypes.c_void_p(0))
    if "llama_cpp.mtmd_cpp" in sys.modules and hasattr(mtmd(), "mtmd_helper_log_set"):
        mtmd().mtmd_helper_log_set(api().llama_log_callback(), None)  # A null pointer: the default.


def _their_callback() -> Any:
    """The callback that llama-cpp-python installs when it is imported."""
    return import_module("llama_cpp._logger").llama_log_callback


@cache
def _our_callback() -> Any:
    """The callback as a C function. It is never freed, because native code may still hold its address."""

    def receive(level: int, text: bytes, user_data: Any) -> None:
        if _thread_log.verbose is None:
            _their_callback()(level, text, user_data)
            return
        line = text.decode("utf-8", "replace")
        if level == _ERROR_LEVEL and line.strip():
            _thread_log.errors.append(line.strip())
        if _thread_log.verbose:
            print(line, end="", file=sys.stderr, flush=True)
        elif line.strip():
            log.debug("%s", line.strip())

    return api().llama_log_callback(receive)
