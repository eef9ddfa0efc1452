"""How a run is spread over several processes, GPUs and machines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from asyncinfer.config.base import Count, Group, Natural, NonNegative, Params, Positive
from asyncinfer.config.row_key import Unhashed


class ReplicaResources(Params):
    """What Ray reserves for one replica. Ray places replicas where these are free."""

    num_gpus: Unhashed[NonNegative | None] = None
    """GPUs. null: for a model that runs in the replica, as many as it uses if the cluster has GPUs, which is 1 or
    the product of vLLM's `tensor_parallel_size` and `pipeline_parallel_size`; 0 for an API. A fraction lets replicas
    share a GPU."""
    num_cpus: Unhashed[NonNegative] = 1.0
    """CPU cores. 0 if the cores do not matter, as for an API."""
    custom: Unhashed[Annotated[dict[str, NonNegative], Group]] = Field(default_factory=dict[str, float])
    """Custom resources of Ray, by their names."""


class DistributedParams(Params):
    """Replicas of the engine, each in a process of its own, and where they run. None of this changes an answer."""

    backend: Unhashed[Literal["ray"]] = "ray"
    """What runs the replicas. It needs the extra `ray`."""
    num_replicas: Unhashed[Count] = 1
    """How many replicas there are."""
    resources_per_replica: Unhashed[Annotated[ReplicaResources, Group]] = Field(default_factory=ReplicaResources)
    """What each replica needs."""
    address: Unhashed[str | None] = None
    """The Ray cluster, as `ray.init` takes it. null: the one of `RAY_ADDRESS`, or the one that runs on this machine;
    otherwise Ray is started on this machine. "local" always starts it."""
    runtime_env: Unhashed[Annotated[dict[str, Any], Group]] = Field(default_factory=dict[str, Any])
    """Ray's runtime environment of the replicas, such as `{env_vars: {...}, working_dir: ...}`."""
    max_restarts: Unhashed[Natural] = 3
    """How often in succession a replica may die without an answer. After that it is not restarted."""
    start_timeout: Unhashed[NonNegative] = 300.0
    """Seconds to wait until the cluster has a machine that is large enough for a replica. It may be one that an
    autoscaler starts. Ray that is started on this machine has no other machine, so that is an error at once. A replica
    that does not build its engine in this time, or in `heartbeat_timeout` if that is more, is killed and restarted."""
    heartbeat_timeout: Unhashed[Positive] = 120.0
    """Seconds without a sign of life after which a replica that runs is killed and restarted."""
