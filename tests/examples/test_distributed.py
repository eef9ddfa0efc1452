"""The files in `examples/distributed/`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from asyncinfer import InferenceConfig, InferenceEngineType
from tests.examples.programs import EXAMPLES

FOLDER = EXAMPLES / "distributed"


@pytest.mark.parametrize(("name", "replicas", "address"), [("one_machine", 4, None), ("cluster", 8, "auto")])
def test_configurations_are_valid(name: str, replicas: int, address: str | None) -> None:
    config = InferenceConfig.from_yaml(FOLDER / f"{name}.yaml")
    assert config.engine is InferenceEngineType.VLLM
    assert config.distributed is not None
    assert (config.distributed.num_replicas, config.distributed.address) == (replicas, address)


def test_gpus_of_a_replica_in_the_cluster_are_those_of_its_model() -> None:
    config = InferenceConfig.from_yaml(FOLDER / "cluster.yaml")
    assert config.distributed is not None
    assert config.distributed.resources_per_replica.num_gpus == config.model.model_kwargs["tensor_parallel_size"]


def test_job_for_kubernetes_has_room_for_the_replicas() -> None:
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    config = InferenceConfig.from_yaml(FOLDER / "cluster.yaml")
    [workers] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [container] = workers["template"]["spec"]["containers"]
    assert job["kind"] == "RayJob"
    assert config.distributed is not None
    assert workers["replicas"] == config.distributed.num_replicas
    assert container["resources"]["limits"]["nvidia.com/gpu"] == config.distributed.resources_per_replica.num_gpus


def test_keys_of_the_job_for_kubernetes_are_those_of_kuberay() -> None:
    """The keys that the resource definition of RayJob requires, and the others that it knows (KubeRay, August 2026)."""
    spec = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    [workers] = cluster["workerGroupSpecs"]
    assert spec.keys() <= {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    assert cluster.keys() == {"headGroupSpec", "workerGroupSpecs"}
    assert cluster["headGroupSpec"].keys() == {"rayStartParams", "template"}
    assert workers.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"]
    assert all(isinstance(value, str) for value in cluster["headGroupSpec"]["rayStartParams"].values())


def test_script_for_slurm_starts_ray_on_all_nodes_and_runs_the_configuration_of_the_cluster(tmp_path: Path) -> None:
    """With commands in place of those of Slurm. Ray itself reads the arguments that it gets."""
    ray = pytest.importorskip("ray.scripts.symmetric_run", reason="needs the extra ray")
    for name, script in {"scontrol": 'printf "%s\\n" node-1 node-2', "srun": 'printf "%s\\n" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "32"}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = FOLDER / "slurm.sh"
    ran = subprocess.run(["bash", str(script)], check=True, capture_output=True, text=True, env=environment)

    of_srun, program, command, *arguments = ran.stdout.splitlines()
    place = arguments.index("--")
    parsed = ray.symmetric_run.make_context("_", arguments[:place], resilient_parsing=True).params
    assert (of_srun, program, command) == ("--cpus-per-task=32", "ray", "symmetric-run")
    assert (parsed["address"], parsed["min_nodes"]) == ("node-1:6379", 2)
    assert ray.curate_and_validate_ray_start_args(arguments[:place]) == ["--num-cpus=32"]
    assert arguments[place + 1 :] == ["asyncinfer", "infer", "-c", "examples/distributed/cluster.yaml"]
    assert ran.stderr == ""


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["one_machine", "cluster"])
def test_options_of_the_model_are_those_of_vllm(name: str) -> None:
    vllm = pytest.importorskip("vllm.engine.arg_utils", reason="needs the extra heavy")
    kwargs = InferenceConfig.from_yaml(FOLDER / f"{name}.yaml").model.model_kwargs
    assert kwargs.keys() <= vllm.EngineArgs.__dataclass_fields__.keys()
