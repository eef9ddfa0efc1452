"""The memory and processor cores that this process may use."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# The free memory to assume, in bytes, if the operating system does not report it.
UNKNOWN_MEMORY = 4 * 2**30


def free_memory() -> int | None:
    """The bytes that this process can still allocate, within the limit of its container. None if unknown."""
    known = [free for free in (_machine_memory(), _container_memory()) if free is not None]
    return min(known, default=None)


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine_memory() -> int | None:
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _container_memory() -> int | None:
    """From the files of Linux control groups, version 2."""
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        used = int((folder / "memory.current").read_text())
        # Cached files count as used, but the kernel frees them when memory is needed.
        cached = re.search(r"^file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        return int((folder / "memory.max").read_text()) - used + (int(cached[1]) if cached else 0)
    return None
