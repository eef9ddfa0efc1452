"""The files in `examples/distributed/`."""

from __future__ import annotations

import subprocess

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


def test_script_for_slurm_has_no_syntax_error_and_runs_the_configuration_of_the_cluster() -> None:
    script = FOLDER / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "asyncinfer infer -c examples/distributed/cluster.yaml" in script.read_text()
