"""Loads the largest shared libraries of torch, triton and OpenCV while other threads keep running."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger("asyncinfer")

# torch loads this library so that all others see its symbols.
_GLOBAL = "libtorch_global_deps.so"
# The libraries of each package, in the order in which the package loads them (torch 2.13, triton 3.9, OpenCV 5.0). A
# build may lack some of them. None of them calls Python while it is loaded.
_LIBRARIES = {
    "torch": (
        f"lib/{_GLOBAL}",
        "lib/libc10.so",
        "lib/libtorch_cpu.so",
        "lib/libtorch_cuda.so",
        "lib/libtorch_hip.so",
        "lib/libtorch_xpu.so",
        "lib/libtorch.so",
    ),
    "triton": ("_C/libtriton.so",),
    "cv2": ("cv2.abi3.so",),
}


def preload(*packages: str) -> None:
    """Load the libraries that importing the packages will load. Linux only; elsewhere the import loads them.

    Loading takes half a second or more. An import holds the interpreter lock all the time, which blocks event loops. A
    foreign function is called without the lock.
    """
    if sys.platform != "linux":
        return
    for package in packages:
        spec = find_spec(package) if package not in sys.modules else None
        if spec is not None and spec.origin is not None:
            _load(Path(spec.origin).parent, _LIBRARIES[package])


def _load(folder: Path, names: tuple[str, ...]) -> None:
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for path in (folder / name for name in names if (folder / name).exists()):
        visibility = os.RTLD_GLOBAL if path.name == _GLOBAL else os.RTLD_LOCAL
        if not dlopen(os.fsencode(path), os.RTLD_NOW | visibility):
            log.debug("%s: left to the import", path)
            return
