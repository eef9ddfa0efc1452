"""Engines with replicas on a real Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import (
    AttemptFailed,
    ConfigError,
    Conversation,
    DistributedInferenceEngine,
    DistributedParams,
    EngineConfigError,
    GenerationParams,
    InferenceConfig,
    LlamaCppInferenceEngine,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    ReplicaResources,
    RequestError,
    RowFinished,
    RunEvent,
    StreamDelta,
)
from tests.distributed.conftest import RayCluster
from tests.distributed.engines import ScriptedEngine, model
from tests.fakes import questions, read_jsonl, write_jsonl
from tests.faults import FaultServer, after, status
from tests.smollm2 import ONE_THREAD, PACKAGED

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 40


def engine_on(cluster: RayCluster, replicas: int = 2, **options: object) -> DistributedInferenceEngine:
    return DistributedInferenceEngine(ScriptedEngine(model(**options)), cluster.params(replicas))


def processes(answers: list[Conversation]) -> Counter[int]:
    """How many rows each process answered."""
    return Counter(answer.metadata["pid"] for answer in answers)


async def both_ready(engine: DistributedInferenceEngine) -> int:
    """Return the process of a replica once two replicas answer."""
    with anyio.fail_after(60):
        while len(found := processes(await engine.ainfer(questions(8)))) < 2:
            pass
    return min(found)


def kill_once(kill: Callable[[], object], *, after: int) -> Callable[[RunEvent], None]:
    """An observer that calls `kill` after so many rows."""
    finished = 0

    def observe(event: RunEvent) -> None:
        nonlocal finished
        finished += isinstance(event, RowFinished)
        if finished == after and isinstance(event, RowFinished):
            kill()

    return observe


async def test_every_method_works_with_replicas(cluster: RayCluster, tmp_path: Path) -> None:
    async with engine_on(cluster, seconds=0.02, slots=4) as engine:
        await both_ready(engine)
        answers = await engine.ainfer(questions(ROWS))
        assert [a.text for a in answers] == [f"answer to question {i}" for i in range(ROWS)]
        assert len(processes(answers)) == 2
        assert os.getpid() not in processes(answers)

        answered = await engine.agenerate("hello", InferenceConfig(generation=GenerationParams(max_new_tokens=6)))
        assert answered.text == "answer"
        async with engine.astream("hello") as stream:
            deltas: list[StreamDelta] = [delta async for delta in stream]
        assert [delta.content for delta in deltas] == ["answer ", "to ", "hello ", ""]

        async with engine.ainfer_iter(questions(5)) as outcomes:
            assert len([index async for index, _ in outcomes]) == 5
        assert (await engine.ainfer_partial(questions(3))).failed_indices == []

        job = InferenceConfig(input_path=write_jsonl(tmp_path / "in", questions(7)), output_path=tmp_path / "out")
        assert (await engine.arun(job)).completed == 7
        assert len(read_jsonl(tmp_path / "out")) == 7
        assert await engine.alist_models() == ["scripted"]


def test_blocking_twins_work_with_replicas(cluster: RayCluster) -> None:
    engine = engine_on(cluster, 1)
    assert [a.text for a in engine.infer(questions(3))] == [f"answer to question {i}" for i in range(3)]
    assert engine.generate("hello").text == "answer to hello"
    assert "".join(delta.content for delta in engine.stream("hello")) == "answer to hello "
    engine.close()


async def test_engine_is_used_again_after_a_close(cluster: RayCluster) -> None:
    engine = engine_on(cluster, 1)
    for _ in range(2):
        assert (await engine.agenerate("hello")).text == "answer to hello"
        await engine.aclose()


async def test_killed_replica_loses_no_row(cluster: RayCluster) -> None:
    async with engine_on(cluster, seconds=0.1, slots=2) as engine:
        victim = await both_ready(engine)
        answers = await engine.ainfer(
            questions(ROWS), observers=[kill_once(lambda: os.kill(victim, signal.SIGKILL), after=5)]
        )
    assert [a.text for a in answers] == [f"answer to question {i}" for i in range(ROWS)]
    assert len(processes(answers)) >= 2


async def test_frozen_replica_loses_no_row(cluster: RayCluster) -> None:
    params = cluster.params(heartbeat_timeout=3.0)
    async with DistributedInferenceEngine(ScriptedEngine(model(seconds=0.1, slots=2)), params) as engine:
        victim = await both_ready(engine)
        answers = await engine.ainfer(
            questions(ROWS), observers=[kill_once(lambda: os.kill(victim, signal.SIGSTOP), after=5)]
        )
    assert [a.text for a in answers] == [f"answer to question {i}" for i in range(ROWS)]


async def test_lost_node_loses_no_row(cluster: RayCluster, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    job = InferenceConfig(input_path=write_jsonl(tmp_path / "in.jsonl", questions(ROWS)), output_path=output)
    async with engine_on(cluster, seconds=0.1, slots=2) as engine:
        await both_ready(engine)
        summary = await engine.arun(job, observers=[kill_once(cluster.kill_node, after=5)])
        cluster.replace_node()
        assert (await engine.agenerate("hello")).text == "answer to hello"
    assert (summary.completed, summary.failed) == (ROWS, 0)
    assert [row["messages"][-1]["content"] for row in read_jsonl(output)] == [
        f"answer to question {i}" for i in range(ROWS)
    ]


async def test_row_that_kills_its_process_fails_alone(cluster: RayCluster) -> None:
    async with engine_on(cluster, lethal="question 3", slots=4) as engine:
        result = await engine.ainfer_partial(questions(12))
    assert result.failed_indices == [3]
    assert "3 replicas died while they worked on this row" in result.failures[3].error_message


async def test_engine_that_cannot_be_built_ends_the_run_at_once(cluster: RayCluster) -> None:
    async with engine_on(cluster, broken="model.adapter_model: no such folder") as engine:
        with pytest.raises(EngineConfigError, match=r"cannot build the engine: model.adapter_model: no such folder"):
            await engine.agenerate("hello")


async def test_missing_cluster_is_a_config_error(ray_environment: None) -> None:
    params = DistributedParams(address="127.0.0.1:1")
    async with DistributedInferenceEngine(ScriptedEngine(model()), params) as engine:
        with pytest.raises(ConfigError, match=r"distributed.address: cannot use Ray at 127.0.0.1:1"):
            await engine.agenerate("hello")


async def test_other_server_at_the_address_is_a_config_error(ray_environment: None) -> None:
    async with FaultServer() as server:
        host, port = server.url.split("/")[2].split(":")
        async with DistributedInferenceEngine(
            ScriptedEngine(model()), DistributedParams(address=f"ray://{host}:{port}")
        ) as engine:
            with pytest.raises(ConfigError, match=r"the server there is not Ray"):
                await engine.agenerate("hello")


async def test_run_ends_if_no_machine_of_the_cluster_is_large_enough(
    cluster: RayCluster, caplog: pytest.LogCaptureFixture
) -> None:
    each = ReplicaResources(num_cpus=4, custom={"rare": 1})
    params = DistributedParams(num_replicas=2, address=cluster.address, resources_per_replica=each, start_timeout=0.5)
    async with DistributedInferenceEngine(ScriptedEngine(model()), params) as engine:
        why = r"a replica needs 4 CPU, 1 rare, and the Ray cluster has had no machine with that for 0.5 s"
        with pytest.raises(EngineConfigError, match=why):
            await engine.agenerate("hello")
    assert "room for 0 of 2 replicas at most: each needs 4 CPU, 1 rare on one machine" in caplog.text


async def test_dead_replica_fails_a_stream_that_has_begun_and_answers_the_next(cluster: RayCluster) -> None:
    async with engine_on(cluster, 1, seconds=0.2) as engine:
        victim = (await engine.agenerate("hello")).metadata["pid"]
        with pytest.raises(RequestError, match="the replica died while it streamed the answer"):
            async with engine.astream("hello") as stream:
                async for _ in stream:
                    os.kill(victim, signal.SIGKILL)
        async with engine.astream("hello") as stream:
            assert "".join([delta.content async for delta in stream]) == "answer to hello "


async def test_single_call_survives_a_replica_that_is_killed_again_and_again(cluster: RayCluster) -> None:
    async with engine_on(cluster, 1, seconds=0.5) as engine:
        for _ in range(3):
            victim = (await engine.agenerate("first")).metadata["pid"]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill_later, victim)
                answered = await engine.agenerate("hello")
            assert answered.text == "answer to hello"
            assert answered.metadata["pid"] != victim


async def kill_later(process: int) -> None:
    await anyio.sleep(0.2)
    os.kill(process, signal.SIGKILL)


async def test_two_engines_share_the_connection(cluster: RayCluster) -> None:
    one, other = engine_on(cluster, 1), engine_on(cluster, 1)
    assert (await one.agenerate("one")).text == "answer to one"
    assert (await other.agenerate("other")).text == "answer to other"
    await one.aclose()
    assert (await other.agenerate("again")).text == "answer to again"
    await other.aclose()


class TestRemoteEngine:
    """The replicas of an engine for an API share its limits."""

    def engine(self, cluster: RayCluster, server: FaultServer, **remote: object) -> DistributedInferenceEngine:
        params = RemoteParams.model_validate({"api_url": server.url, "retry_backoff_base": 0.01, **remote})
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params)
        return DistributedInferenceEngine(engine, cluster.params())

    async def test_all_replicas_together_have_num_workers_requests_in_flight(self, cluster: RayCluster) -> None:
        async with FaultServer(lambda ask: after(0.05)) as server:
            limits = {"num_workers": 6, "use_adaptive_concurrency": False}
            async with self.engine(cluster, server, **limits) as engine:
                await engine.ainfer(questions(60))
                await engine.ainfer(questions(60))
            assert server.peak == 6
            assert len({ask.headers["User-Agent"] for ask in server.asks}) == 1
            assert server.connections >= 2

    async def test_refusals_reach_the_controller_and_every_row_is_answered(self, cluster: RayCluster) -> None:
        async with FaultServer(lambda ask: status(429) if server.in_flight > 4 else after(0.02)) as server:
            events: list[RunEvent] = []
            async with self.engine(cluster, server, num_workers=16) as engine:
                answers = await engine.ainfer(questions(60), observers=[events.append])
            assert [a.text for a in answers] == [f"answer to question {i}" for i in range(60)]
            refused = [event for event in events if isinstance(event, AttemptFailed)]
            assert refused
            assert all(isinstance(event.error, RequestError) and event.error.is_overload for event in refused)


async def test_killed_driver_is_resumed_and_every_row_is_in_the_output_once(
    cluster: RayCluster, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    async with FaultServer(lambda ask: after(0.1)) as server:
        command = [sys.executable, "-m", "asyncinfer", "infer", "--input_path", str(tmp_path / "in.jsonl")]
        command += ["--output_path", str(output), "--engine", "REMOTE", "--model.model_name", "m"]
        command += ["--remote_params.api_url", server.url, "--remote_params.num_workers", "4"]
        command += ["--distributed.num_replicas", "2", "--distributed.address", cluster.address]
        command += ["--distributed.resources_per_replica.num_cpus", "0.1"]
        async with await anyio.open_process(command) as driver:
            with anyio.fail_after(60):
                while len(server.asks) < ROWS // 2:
                    await anyio.lowlevel.checkpoint()
            driver.kill()
        before = len(server.asks)
        assert not output.exists()
        done = await anyio.run_process(command)
        assert done.returncode == 0
        assert len(server.asks) - before < ROWS
    assert [row["messages"][-1]["content"] for row in read_jsonl(output)] == [
        f"answer to question {i}" for i in range(ROWS)
    ]


@pytest.mark.model
async def test_two_replicas_of_a_model_answer_as_one_engine(cluster: RayCluster) -> None:
    options = {"model_kwargs": ONE_THREAD, "model_max_length": 512}
    generation = GenerationParams(max_new_tokens=12, temperature=0.0)
    rows = questions(8)
    alone = LlamaCppInferenceEngine(ModelParams(model_name=PACKAGED, **options), generation_params=generation)
    async with alone:
        expected = [answer.text for answer in await alone.ainfer(rows)]
    spread = LlamaCppInferenceEngine(ModelParams(model_name=PACKAGED, **options), generation_params=generation)
    async with DistributedInferenceEngine(spread, cluster.params()) as engine:
        assert [answer.text for answer in await engine.ainfer(rows)] == expected
        async with engine.astream(rows[0]) as stream:
            assert "".join([delta.content async for delta in stream]).strip() == expected[0].strip()
