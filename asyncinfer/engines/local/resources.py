"""What the machine has for this process: memory and processor cores."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# What to go by where nobody tells.
UNKNOWN_MEMORY = 4 * 2**30


def free_memory() -> int | None:
    """Bytes that this process can still take, the limit of its container included; None where nobody tells."""
    known = [room for room in (_of_machine(), _of_container()) if room is not None]
    return min(known, default=None)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_machine() -> int | None:
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _of_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        used = int((folder / "memory.current").read_text())
        # Files that are only cached give way.
        cached = re.search(r"^file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
        return int((folder / "memory.max").read_text()) - used + (int(cached[1]) if cached else 0)
    return None
