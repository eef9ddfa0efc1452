"""A configuration with both `distributed` and `batch`: this process sends the jobs, and no replica is started."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from asyncinfer import (
    BatchParams,
    ConfigError,
    DistributedParams,
    InferenceConfig,
    ModelParams,
    RemoteParams,
    build_engine,
)
from asyncinfer.engines.distributed import DistributedInferenceEngine
from tests.batch.server import BatchServer
from tests.block_watch import BlockWatch
from tests.distributed.engines import ScriptedEngine, model
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl

# Ray reads the environment when it is imported, which other tests set first.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that starts makes the test fail."""
    monkeypatch.setattr("asyncinfer.distributed.ray_replicas.RayReplicas.open", lambda _: pytest.fail("Ray starts"))


def config(folder: Path, url: str) -> InferenceConfig:
    return InferenceConfig(
        model=ModelParams(model_name="m"),
        engine="REMOTE",
        remote_params=RemoteParams(api_url=url),
        input_path=str(folder / "in.jsonl"),
        output_path=str(folder / "out.jsonl"),
        distributed=DistributedParams(num_replicas=2),
        batch=BatchParams(poll_interval=0.02, max_poll_interval=0.05),
    )


async def test_run_sends_its_rows_as_batch_jobs(tmp_path: Path, block_watch: BlockWatch) -> None:
    block_watch.off()  # The server reads files on the loop of the test.
    write_jsonl(tmp_path / "in.jsonl", questions(4))
    async with BatchServer() as server:
        job = config(tmp_path, server.url)
        async with build_engine(job) as engine:
            assert isinstance(engine, DistributedInferenceEngine)
            summary = await engine.arun(job, relax_gc=False)
            batch_id = await engine.ainfer_batch(["question 0"])
            assert (await engine.aget_batch_status(batch_id)).total_requests == 1
    assert summary.completed == 4
    answers = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert answers == [answer_to(f"question {number}") for number in range(4)]


async def test_engine_without_a_batch_api_is_an_error_that_names_it(tmp_path: Path) -> None:
    engine = DistributedInferenceEngine(ScriptedEngine(model()), DistributedParams())
    write_jsonl(tmp_path / "in.jsonl", questions(1))
    job = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / "out.jsonl", batch=BatchParams())
    with pytest.raises(ConfigError, match="ScriptedEngine has no batch API"):
        await engine.arun(job)
    await engine.aclose()
