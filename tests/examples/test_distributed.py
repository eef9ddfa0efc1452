"""The configurations with replicas are valid, and the manifest for Kubernetes is YAML."""

from __future__ import annotations

import pytest
import yaml

from asyncinfer import InferenceConfig
from tests.examples.programs import EXAMPLES

FOLDER = EXAMPLES / "distributed"


@pytest.mark.parametrize(("name", "replicas"), [("one_machine", 4), ("cluster", 8)])
def test_configuration_is_valid(name: str, replicas: int) -> None:
    config = InferenceConfig.from_yaml(FOLDER / f"{name}.yaml")
    assert config.distributed is not None
    assert config.distributed.num_replicas == replicas


def test_job_for_kubernetes_runs_the_configuration_of_the_cluster() -> None:
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    assert job["kind"] == "RayJob"
    assert "cluster.yaml" in job["spec"]["entrypoint"]
    [workers] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    config = InferenceConfig.from_yaml(FOLDER / "cluster.yaml")
    assert config.distributed is not None
    assert workers["replicas"] == config.distributed.num_replicas
