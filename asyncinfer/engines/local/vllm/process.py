"""What vLLM keeps once for the whole process, so that its engines share it with each other and with the program."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from threading import Thread
from typing import Any

from asyncinfer.engines.local.fifo_lock import FifoLock
from asyncinfer.engines.local.resources import cores
from asyncinfer.engines.local.vllm.compat import api

_MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"
# What a step computes with is global in vLLM and in torch, and so engines take turns.
turns = FifoLock()
# The engines that are loaded in this process, by their `id`.
loaded: set[int] = set()


def one_process() -> bool:
    """Whether the engine core runs in this process: it does unless the user says otherwise."""
    return os.environ.get(_MULTIPROCESSING, "0") == "0"


@contextmanager
def loading(one_process: bool) -> Generator[None]:
    """Inside, vLLM may load a model; what it sets for the whole process by that, and others need, is put back."""
    before, state = os.environ.get(_MULTIPROCESSING), random.getstate()
    os.environ[_MULTIPROCESSING] = "0" if one_process else "1"
    torch: Any = import_module("torch")
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    if one_process and api("vllm.platforms").current_platform.is_cpu():
        # Said in this thread: otherwise vLLM's and torch's ideas of how many there are may differ, which is fatal.
        set_threads(threads if "OMP_NUM_THREADS" in os.environ else default_threads())
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        # In a thread that has no more to compute: this one keeps what it has, those begun later get theirs from here.
        other = Thread(target=set_threads, args=(threads,))
        other.start()
        other.join()
        random.setstate(state)
        if before is None:
            del os.environ[_MULTIPROCESSING]
        else:
            os.environ[_MULTIPROCESSING] = before


@cache
def keep_shared_state() -> None:
    """An engine core that ends, or is collected after it failed to load, takes down what is shared by all of the
    process. From now on, that waits for the last of ours.
    """
    core = api("vllm.v1.engine.core")
    theirs: Callable[[], None] = core.cleanup_dist_env_and_memory
    core.cleanup_dist_env_and_memory = lambda: None if loaded else theirs()


def default_threads() -> int:
    """How many threads compute, as vLLM has it: one core is left to the rest of the program, without which both would
    wait for each other.
    """
    return max(cores() - 1, 1)
