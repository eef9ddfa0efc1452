"""Runs a job in a child process that may be killed at one of its file operations."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import anyio
from anyio import to_thread

from asyncinfer import InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
from tests.faulty_disk import Faults, faulty_disk

# One process imports everything, and a child for each run is forked from it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "asyncinfer.transport.pooled"])


async def run_in_child(folder: Path, url: str, faults: Faults, *, reuse: bool = False) -> int:
    """Run the job in `folder`. Returns the exit code of its process; negative for a signal."""
    process = _FORKS.Process(target=_main, args=(folder, url, faults, reuse))
    await to_thread.run_sync(process.start)
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
        progress_path=str(folder / "progress.json"),
        reuse_output=reuse,
    )
    remote = RemoteParams(api_url=url, num_workers=2, use_adaptive_concurrency=False)
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        summary = await engine.arun(config)
    assert summary.failed == 0
