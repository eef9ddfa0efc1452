"""The largest shared libraries of local engines, loaded so that the rest of the process goes on meanwhile."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger("asyncinfer")

# The one whose symbols all others must see.
_GLOBAL = "libtorch_global_deps.so"
# By package, in the order in which it loads them itself; of those that a build does not have, none is missed. None
# touches Python while it is loaded.
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
    """Load what importing the packages will load. That takes half a second and more, and an import would hold the
    interpreter for all of it, event loops included; a foreign function is called without.
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
        seen = os.RTLD_GLOBAL if path.name == _GLOBAL else os.RTLD_LOCAL
        if not dlopen(os.fsencode(path), os.RTLD_NOW | seen):
            log.debug("%s: left to the import", path)
            return
