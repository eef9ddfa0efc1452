"""Answers in a pipeline of Ray Data, from Parquet to Parquet."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import InferenceConfig, ModelParams, RemoteParams
from asyncinfer.integrations.ray_data import AnswerRows
from tests.distributed.conftest import RayCluster
from tests.faults import FaultServer

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def pipeline(cluster: RayCluster, config: InferenceConfig, folder: Path) -> list[dict[str, Any]]:
    """Write questions, have them answered by two actors, and read the answers. Blocks."""
    import ray
    import ray.data

    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")

    rows = [{"id": i, "messages": [{"role": "user", "content": f"question {i}"}]} for i in range(20)]
    (folder / "in").mkdir()
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "in" / "rows.parquet", row_group_size=5)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        actors = ray.data.ActorPoolStrategy(size=2)
        ds = ray.data.read_parquet(str(folder / "in"), override_num_blocks=4)
        ds = ds.map_batches(
            AnswerRows, fn_constructor_args=[config], compute=actors, num_cpus=0, batch_size=5, batch_format="pyarrow"
        )
        ds.write_parquet(str(folder / "out"))
        return parquet.read_table(folder / "out").to_pylist()
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray warns of its own defaults, and that the data are few.
async def test_parquet_is_answered_by_a_pool_of_actors(cluster: RayCluster, tmp_path: Path) -> None:
    async with FaultServer() as server:
        remote = RemoteParams(api_url=server.url)
        config = InferenceConfig(ModelParams(model_name="m"), engine="REMOTE", remote_params=remote)
        rows = await anyio.to_thread.run_sync(pipeline, cluster, config, tmp_path)
    answers = {row["id"]: (row["answer"], row["error"]) for row in rows}
    assert answers == {i: (f"answer to question {i}", None) for i in range(20)}
