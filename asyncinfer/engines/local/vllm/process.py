"""The state of the process that vLLM changes while it loads a model, and the lock for what its engines share."""

from __future__ import annotations

import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from threading import Thread
from typing import Any

from asyncinfer.engines.local.fifo_lock import FifoLock
from asyncinfer.engines.local.resources import cores
from asyncinfer.engines.local.vllm.compat import has_gpu

_MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"
# The state of a step is global in vLLM and in torch, so the engines of a process compute one after the other.
step_lock = FifoLock()


def is_one_process() -> bool:
    """Whether the engine core runs in this process. This is so unless the user sets the variable to 1."""
    return os.environ.get(_MULTIPROCESSING, "0") == "0"


@contextmanager
def restored_process_state(one_process: bool) -> Generator[None]:
    """Inside, vLLM may load a model. Then restores what it has changed for the process: the environment, Python's
    random numbers, and the number of threads that torch uses.
    """
    before, random_state = os.environ.get(_MULTIPROCESSING), random.getstate()
    os.environ[_MULTIPROCESSING] = "0" if one_process else "1"
    torch: Any = import_module("torch")
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    if one_process and not has_gpu():
        # Set in this thread: vLLM fails if its number of threads differs from torch's.
        set_threads(threads if "OMP_NUM_THREADS" in os.environ else default_threads())
    try:
        yield
    finally:
        torch.set_num_threads = set_threads  # vLLM replaces it (vllm/v1/worker/cpu_worker.py).
        # Called in a new thread that computes nothing: this sets the number for threads that start later, and the
        # number of the current thread stays.
        other = Thread(target=set_threads, args=(threads,))
        other.start()
        other.join()
        random.setstate(random_state)
        if before is None:
            del os.environ[_MULTIPROCESSING]
        else:
            os.environ[_MULTIPROCESSING] = before


def default_threads() -> int:
    """How many threads compute, which is vLLM's default too. One core is left to the rest of the program. Without it,
    both would wait for each other.
    """
    return max(cores() - 1, 1)
