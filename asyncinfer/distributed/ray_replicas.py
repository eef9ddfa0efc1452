"""Replicas as actors of Ray. The only module of this layer that imports Ray.

Written against Ray 2.60 (November 2026): https://docs.ray.io/en/releases-2.60.0/ray-core/actors.html and
https://docs.ray.io/en/releases-2.60.0/ray-core/fault_tolerance/actors.html. A call of an actor that is being restarted
raises ActorUnavailableError. ActorDiedError means that Ray does not restart it, because `max_restarts` is -1.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Awaitable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from asyncinfer.config import DistributedParams
from asyncinfer.distributed.client import ReplicaGone, ReplicaLost
from asyncinfer.distributed.replica import Replica
from asyncinfer.distributed.session import Recipe
from asyncinfer.distributed.wire import Opened
from asyncinfer.errors import ConfigError, MissingDependencyError, error_text
from asyncinfer.run.bound_engine import CallSettings

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

# The most characters of a message of Ray that errors contain.
_LONGEST_CAUSE = 600
# How long a cluster has to accept a connection (seconds).
_CONNECT_SECONDS = 10.0


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
        """Connect to Ray, or start it, and have the actors created. Blocks.

        Raises:
            ConfigError: There is no cluster at the address, or Ray does not accept the parameters.
        """
        own_job = CONNECTION.acquire(self._ray, self._params)
        try:
            self._actors = self._create(own_job)
        except BaseException:
            CONNECTION.release(self._ray)
            raise
        return [
            RayReplica(self._ray, actor, self._recipe, f"replica {number} of {len(self._actors)}")
            for number, actor in enumerate(self._actors, 1)
        ]

    def close(self) -> None:
        """Kill the actors. Shut Ray down if `open` connected to it and no other engine uses it. Blocks."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        CONNECTION.release(self._ray)

    def _create(self, own_job: bool) -> list[Any]:
        options = self._options()
        if not own_job and self._params.runtime_env:
            options["runtime_env"] = self._params.runtime_env
        try:
            actor = self._ray.remote(**options)(Replica)
            return [actor.remote() for _ in range(self._params.num_replicas)]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"distributed: Ray does not accept the parameters: {error_text(error)}") from None

    def _options(self) -> dict[str, Any]:
        """The options of an actor. Warns if the cluster has no room for all of them."""
        needs, total = self._params.resources_per_replica, self._ray.cluster_resources()
        gpus = needs.num_gpus
        if gpus is None:
            gpus = self._gpus if total.get("GPU") else 0
        wanted = {"CPU": needs.num_cpus, "GPU": gpus, **needs.custom}
        room = min((int(total.get(name, 0) / amount) for name, amount in wanted.items() if amount), default=None)
        if room is not None and room < self._params.num_replicas:
            each = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)
            log.warning(
                "The Ray cluster has room for %d of %d replicas at most: each needs %s. The others start once there is "
                "more (distributed.resources_per_replica)",
                room,
                self._params.num_replicas,
                each,
            )
        return {
            "num_cpus": needs.num_cpus,
            "num_gpus": gpus,
            "resources": dict(needs.custom),
            "max_restarts": -1,
            "max_task_retries": 0,
        }


class RayReplica:
    """The handle of one actor. Its async methods raise ReplicaLost or ReplicaGone; see `ReplicaHandle`."""

    def __init__(self, ray: Any, actor: Any, recipe: Recipe, name: str) -> None:
        self._ray, self._actor, self._recipe, self.name = ray, actor, recipe, name

    async def ping(self) -> str:
        return await self._result(self._actor.ping.remote())

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
            raise ReplicaGone(_cause(error)) from None
        except errors.RayError as error:
            raise ReplicaLost(_cause(error)) from None


class Connection:
    """The connection of this process to Ray, which all engines share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._is_own = False

    def acquire(self, ray: Any, params: DistributedParams) -> bool:
        """Connect, unless the process is connected already. Returns whether this call has connected it.

        Raises:
            ConfigError: There is no cluster at the address, or Ray cannot be started.
        """
        with self._lock:
            is_new = not ray.is_initialized()
            if is_new:
                _connect(ray, params)
                self._is_own, self._users = True, 0
            self._users += 1
            return is_new

    def release(self, ray: Any) -> None:
        """Disconnect if the last engine releases a connection that `acquire` has made."""
        with self._lock:
            self._users -= 1
            if self._is_own and self._users <= 0:
                self._is_own = False
                ray.shutdown()


CONNECTION = Connection()


def _connect(ray: Any, params: DistributedParams) -> None:
    where = params.address or "this machine"
    try:
        _check_address(params.address)
        ray.init(
            address=params.address,
            runtime_env=params.runtime_env or None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        why = f"cannot use Ray at {where}: {_cause(error)}"
        raise ConfigError(f"distributed.address: {why}. `ray status` shows whether a cluster runs") from None


def _check_address(address: str | None) -> None:
    """Check that something listens at an address such as `10.0.0.1:6379`. Ray itself would try for minutes.

    Raises:
        OSError: Nothing listens there.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


def _cause(error: BaseException) -> str:
    """The message of an error of Ray, in one line."""
    text = " ".join(error_text(error).split())
    return text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE] + "..."
