"""Engines whose model runs in this process.

`PROCESS_WIDE_CHANGES` lists everything that a local engine changes for the whole process and not only for itself.
"""

from __future__ import annotations

from typing import NamedTuple


class ProcessWideChange(NamedTuple):
    """One change that other code in the process can notice.

    Args:
        module: The module that makes it, as a path inside the package.
        what: What changes, and why.
        until: When it is undone.
    """

    module: str
    what: str
    until: str


PROCESS_WIDE_CHANGES = (
    ProcessWideChange(
        "aio/gc_tuning.py",
        "Python's garbage collector runs less often while a model is being loaded and during `arun`, and `gc.freeze` "
        "keeps it from scanning the objects of a model that is being loaded. A full scan would stop every thread.",
        "The model is loaded, or the run has ended.",
    ),
    ProcessWideChange(
        "engines/local/shared_libraries.py",
        "The shared libraries of torch, triton and cv2 are loaded before the import that needs them, so that other "
        "threads can run meanwhile. The import itself would load the same libraries.",
        "Never: Python does not unload shared libraries.",
    ),
    ProcessWideChange(
        "engines/local/llama_cpp/compat.py",
        "llama.cpp has one log callback for the process. Ours sends the messages of an engine's thread to the logger "
        "`asyncinfer.llama_cpp` (or to stderr, with `verbose: true`), and all others to llama-cpp-python's callback.",
        "The last llama.cpp model is closed.",
    ),
    ProcessWideChange(
        "engines/local/llama_cpp/compat.py",
        "`llama_cpp.Llama` does not redirect stdout and stderr to /dev/null: this would also hide what other threads "
        "print.",
        "The model is loaded.",
    ),
    ProcessWideChange(
        "engines/local/transformers/search.py",
        "A beam search with a seed sets the seed of torch's random numbers.",
        "The search has ended. The earlier state of torch's random numbers is then restored.",
    ),
    ProcessWideChange(
        "engines/local/vllm/compat.py",
        "vLLM's log goes to the logger `asyncinfer.vllm` instead of stdout: the logger `vllm` gets a handler, level "
        "INFO, and no propagation. While vLLM is imported, VLLM_CONFIGURE_LOGGING is 0 in the environment. Nothing "
        "changes if the program imported vLLM before, or sets one of vLLM's logging variables.",
        "The environment: vLLM is imported. The logger: never, because vLLM sets up its log only when it is imported.",
    ),
    ProcessWideChange(
        "engines/local/vllm/compat.py",
        "vLLM does not free the distributed state of the process (`cleanup_dist_env_and_memory`) when one of several "
        "engines ends.",
        "The last vLLM engine is closed.",
    ),
    ProcessWideChange(
        "engines/local/vllm/process.py",
        "While vLLM loads a model, VLLM_ENABLE_V1_MULTIPROCESSING is set in the environment; without a GPU, "
        "`torch.set_num_threads` is called for the model's thread. vLLM itself replaces `torch.set_num_threads` and "
        "seeds Python's random numbers.",
        "The model is loaded.",
    ),
)
