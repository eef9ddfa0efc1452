"""Replicas as actors of Ray. The only module of this layer that imports Ray, besides `compat`.

Written against Ray 2.60 (November 2026): https://docs.ray.io/en/releases-2.60.0/ray-core/actors.html and
https://docs.ray.io/en/releases-2.60.0/ray-core/fault_tolerance/actors.html. A call of an actor that is being restarted
raises ActorUnavailableError. ActorDiedError means that Ray does not restart it, because `max_restarts` is -1.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import anyio

from asyncinfer.aio.limiters import MODELS
from asyncinfer.config import DistributedParams
from asyncinfer.distributed.compat import has_started
from asyncinfer.distributed.connection import CONNECTION, cause_of
from asyncinfer.distributed.handle import NoRoom, ReplicaGone, ReplicaLost
from asyncinfer.distributed.placement import Needs
from asyncinfer.distributed.replica import Replica
from asyncinfer.distributed.session import Recipe
from asyncinfer.distributed.wire import Opened
from asyncinfer.errors import ConfigError, MissingDependencyError, error_text
from asyncinfer.run.bound_engine import CallSettings

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

# The shortest time between two checks whether a machine has room for a replica (seconds).
_SHORTEST_START = 0.1


class RayReplicas:
    """Actors that hold the replicas of one engine. Ray places them, and restarts those that die.

    Args:
        gpus: The GPUs of a replica if the parameters leave it open and the cluster has GPUs.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, recipe: Recipe, params: DistributedParams, gpus: float) -> None:
        if find_spec("ray") is None:
            raise MissingDependencyError("ray", "ray")
        self._recipe, self._params, self._gpus = recipe, params, gpus
        self._actors: list[Any] = []

    @cached_property
    def _ray(self) -> Any:
        return import_module("ray")

    def open(self) -> Sequence[RayReplica]:
        """Connect to Ray, or start it, and create the actors. Blocks.

        Raises:
            ConfigError: There is no cluster at the address, or Ray does not accept the parameters.
        """
        own_job = CONNECTION.acquire(self._ray, self._params)
        try:
            needs = self._needs()
            self._check_room(needs)
            self._actors = self._create(needs, own_job=own_job)
        except BaseException:
            CONNECTION.release(self._ray)
            raise
        start = Start(needs, self._params.start_timeout)
        return [
            RayReplica(self._ray, actor, self._recipe, f"replica {number} of {len(self._actors)}", start)
            for number, actor in enumerate(self._actors, 1)
        ]

    def close(self) -> None:
        """Kill the actors. Shut Ray down if `open` connected to it and no other engine uses it. Blocks."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        CONNECTION.release(self._ray)

    def _create(self, needs: Needs, *, own_job: bool) -> list[Any]:
        options: dict[str, Any] = {
            "num_cpus": needs.num_cpus,
            "num_gpus": needs.num_gpus,
            "resources": dict(needs.custom),
            "max_restarts": -1,
            "max_task_retries": 0,
        }
        if not own_job and self._params.runtime_env:
            options["runtime_env"] = self._params.runtime_env
        try:
            actor = self._ray.remote(**options)(Replica)
            return [actor.remote() for _ in range(self._params.num_replicas)]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"distributed: Ray does not accept the parameters: {error_text(error)}") from None

    def _needs(self) -> Needs:
        each, gpus = self._params.resources_per_replica, self._params.resources_per_replica.num_gpus
        if gpus is None:
            gpus = self._gpus if self._ray.cluster_resources().get("GPU") else 0
        return Needs(each.num_cpus, gpus, each.custom)

    def _check_room(self, needs: Needs) -> None:
        """Warn if the cluster has no room for all replicas.

        Raises:
            ConfigError: Ray was started on this machine, which is too small for a replica.
        """
        machines, count = resources_of_machines(self._ray), self._params.num_replicas
        room = needs.room(machines)
        if room == 0 and CONNECTION.is_local:
            has = needs.text(machines[0] if machines else {})
            raise ConfigError(
                f"distributed.resources_per_replica: a replica needs {needs}, and this machine has only {has}"
            )
        if room < count:
            log.warning(
                "The Ray cluster has room for %d of %d replicas at most: each needs %s on one machine. The others "
                "start once there is more (distributed.resources_per_replica)",
                room,
                count,
                needs,
            )


class Start(NamedTuple):
    """What a replica needs to start, and how long it waits for a machine that has it (seconds)."""

    needs: Needs
    timeout: float


class RayReplica:
    """The handle of one actor. Its async methods raise ReplicaLost or ReplicaGone; see `ReplicaHandle`."""

    def __init__(self, ray: Any, actor: Any, recipe: Recipe, name: str, start: Start) -> None:
        self._ray, self._actor, self._recipe, self.name, self._start = ray, actor, recipe, name, start

    async def ping(self) -> str:
        reference, (needs, timeout) = self._actor.ping.remote(), self._start
        while True:
            with anyio.move_on_after(max(timeout, _SHORTEST_START)):
                return await self._result(reference)
            if not needs.room(await MODELS.run(resources_of_machines, self._ray)):
                raise NoRoom(
                    f"distributed.resources_per_replica: a replica needs {needs}, and the Ray cluster has had no "
                    f"machine with that for {timeout:g} s (distributed.start_timeout)"
                )

    async def has_started(self) -> bool:
        return await MODELS.run(has_started, self._actor)

    async def open(self, client: str) -> Opened:
        return await self._result(self._actor.open.remote(client, self._recipe))

    async def submit(self, token: str, rows: bytes, calls: Mapping[int, CallSettings], aborted: Sequence[int]) -> None:
        await self._result(self._actor.submit.remote(token, rows, calls, aborted))

    async def collect(self, token: str, patience: float) -> bytes | None:
        return await self._result(self._actor.collect.remote(token, patience))

    def end(self, token: str) -> None:
        if self._ray.is_initialized():
            self._actor.end.remote(token)

    def kill(self, *, restart: bool) -> None:
        if self._ray.is_initialized():
            self._ray.kill(self._actor, no_restart=not restart)

    async def _result(self, reference: Awaitable[T]) -> T:
        errors = self._ray.exceptions
        try:
            return await reference
        except (errors.ActorDiedError, errors.ActorUnschedulableError, errors.RuntimeEnvSetupError) as error:
            raise ReplicaGone(cause_of(error)) from None
        except errors.RayError as error:
            raise ReplicaLost(cause_of(error)) from None


def resources_of_machines(ray: Any) -> list[Mapping[str, float]]:
    """The resources of each machine of the cluster. Blocks."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
