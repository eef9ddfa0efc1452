"""Runs batch jobs in a child process that may be killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio import to_thread

from asyncinfer import BatchParams, InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
from tests.faulty_disk import Faults, faulty_disk

# One process imports everything, and a child for each run is forked from it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "asyncinfer.transport.pooled", "asyncinfer.batch.executor"])


async def run_in_child(
    folder: Path,
    url: str,
    faults: Faults | None = None,
    started: Callable[[int], None] = lambda _: None,
    *,
    reuse: bool = False,
) -> int:
    """Run the job in `folder`. Returns the exit code of its process; negative for a signal.

    Args:
        started: Called with the id of the process.
        reuse: Take answers from the output, if a killed run has written it.
    """
    process = _FORKS.Process(target=_main, args=(folder, url, faults or Faults(), reuse))
    await to_thread.run_sync(process.start)
    assert process.pid is not None
    started(process.pid)
    await to_thread.run_sync(process.join)
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _main(folder: Path, url: str, faults: Faults, reuse: bool) -> None:
    with faulty_disk(faults):
        anyio.run(_run, folder, url, reuse)


async def _run(folder: Path, url: str, reuse: bool) -> None:
    config = InferenceConfig(
        input_path=str(folder / "in.jsonl"),
        output_path=str(folder / "out.jsonl"),
        reuse_output=reuse,
        batch=BatchParams(max_rows=8, poll_interval=0.02, max_poll_interval=0.05),
    )
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=url)) as engine:
        summary = await engine.arun(config)
    assert summary.failed == 0
