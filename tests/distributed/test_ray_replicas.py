"""How replicas are created on Ray, with a fake Ray."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from asyncinfer import ConfigError, DistributedParams, ReplicaResources
from asyncinfer.distributed.connection import CONNECTION
from asyncinfer.distributed.ray_replicas import RayReplicas
from tests.distributed.handles import FixedRecipe
from tests.fakes import FakeEngine


class FakeRay:
    """A cluster of one machine with 2 cores, which `init` starts, or which runs already."""

    def __init__(self, *, runs_already: bool = False) -> None:
        self.started_by = 1 if runs_already else os.getpid()
        self.is_connected = False
        self.options: list[dict[str, Any]] = []

    def is_initialized(self) -> bool:
        return self.is_connected

    def init(self, **options: object) -> object:
        self.is_connected = True
        return SimpleNamespace(address_info={"session_dir": f"/tmp/ray/session_{self.started_by}"})

    def shutdown(self) -> None:
        self.is_connected = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"GPU": 8.0}}]

    def remote(self, **options: Any) -> Any:
        self.options.append(options)
        return lambda _: SimpleNamespace(remote=object)

    def kill(self, actor: object) -> None:
        return


def replicas(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, count: int = 2, **each: Any) -> RayReplicas:
    monkeypatch.setattr("asyncinfer.distributed.ray_replicas.find_spec", lambda name: name)
    params = DistributedParams(num_replicas=count, resources_per_replica=ReplicaResources(**each))
    made = RayReplicas(FixedRecipe(FakeEngine()), params, 1)
    monkeypatch.setattr(made, "_ray", ray)
    return made


def test_machine_that_is_too_small_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    with pytest.raises(ConfigError, match=r"a replica needs 1 CPU, 8 GPU, and this machine has only 2 CPU, 0 GPU$"):
        replicas(ray, monkeypatch, num_gpus=8).open()
    assert not ray.is_connected
    assert not CONNECTION.is_local


def test_cluster_that_is_too_small_may_get_more_machines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = replicas(FakeRay(runs_already=True), monkeypatch, num_gpus=8)
    assert len(made.open()) == 2
    assert "room for 0 of 2 replicas at most: each needs 1 CPU, 8 GPU on one machine" in caplog.text
    made.close()


def test_warning_says_how_many_replicas_have_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = replicas(FakeRay(), monkeypatch, 3)
    assert len(made.open()) == 3
    assert "room for 2 of 3 replicas at most: each needs 1 CPU on one machine" in caplog.text
    made.close()


def test_replicas_use_no_gpu_if_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    made = replicas(ray, monkeypatch)
    made.open()
    assert [(options["num_cpus"], options["num_gpus"]) for options in ray.options] == [(1.0, 0)]
    made.close()
