"""A Ray cluster of several nodes on this machine, for the tests with the mark `ray`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from asyncinfer import DistributedParams, ReplicaResources
from tests.block_watch import BlockWatch

ROOT = Path(__file__).parent.parent.parent
# Each node of the cluster has one, so that each replica is on a node of its own.
NODE = "node_slot"


@pytest.fixture(scope="session")
def ray_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the processes of Ray inherit: the path of this package, a folder, and a key for their connections."""
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, pytest.MonkeyPatch.context() as patch:
        # Ray's sockets need a short path. A folder of its own also keeps this cluster apart from others of the machine.
        patch.setenv("RAY_TMPDIR", folder)
        token = tmp_path_factory.mktemp("ray") / "token"
        token.write_text("0123456789abcdef" * 4)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        yield


class RayCluster:
    """The head, on which no replica runs, and two nodes with room for one replica each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head: dict[str, Any] = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add_node(), self.add_node()]

    @property
    def address(self) -> str:
        address = self._cluster.address
        assert address is not None
        return address

    def add_node(self) -> Any:
        return self._cluster.add_node(num_cpus=1, resources={NODE: 1})

    def params(self, replicas: int = 2, **more: Any) -> DistributedParams:
        """Replicas on nodes of their own."""
        each = ReplicaResources(num_cpus=0.1, custom={NODE: 1})
        return DistributedParams(num_replicas=replicas, address=self.address, resources_per_replica=each, **more)

    def kill_node(self) -> None:
        """Kill the raylet of the first node. Its replica ends with it."""
        [raylet] = self.nodes[0].all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)

    def replace_node(self) -> None:
        """Put another node in the place of the one that was killed. Only on the main thread."""
        self._cluster.remove_node(self.nodes.pop(0), allow_graceful=False)
        self.nodes.append(self.add_node())

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def cluster(ray_environment: None, the_block_watch: BlockWatch) -> Iterator[RayCluster]:
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    the_block_watch.off()
    made = RayCluster()
    yield made
    ray.shutdown()
    made.shutdown()
