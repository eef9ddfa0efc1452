"""Addresses at which there is no Ray cluster: errors within seconds, with a fake Ray that is never called."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from asyncinfer import ConfigError, DistributedParams
from asyncinfer.distributed.connection import Connection


class NoRay:
    """A Ray that must not be started."""

    class util:
        @staticmethod
        def get_node_ip_address() -> str:
            return "127.0.0.1"

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> object:
        pytest.fail(f"ray.init is called: {options}")


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize("address", [None, "auto"])
def test_wrong_address_in_the_environment_is_an_error_that_names_the_variable(
    address: str | None, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port}")
    where = rf"cannot use Ray at 127\.0\.0\.1:{free_port} \(of the environment variable RAY_ADDRESS\): .*refused"
    with pytest.raises(ConfigError, match=where):
        Connection().acquire(NoRay(), DistributedParams(address=address))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_address_of_the_parameters_comes_before_that_of_the_environment(
    scheme: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=rf"cannot use Ray at {scheme}127\.0\.0\.1:{free_port}: .*refused"):
        Connection().acquire(NoRay(), DistributedParams(address=f"{scheme}127.0.0.1:{free_port}"))


def test_host_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot use Ray at no-such-host\.invalid:6379"):
        Connection().acquire(NoRay(), DistributedParams(address="no-such-host.invalid:6379"))


def test_address_of_a_ray_client_needs_a_port() -> None:
    with pytest.raises(ConfigError, match="the address has no port. The usual one is that of ray://head:10001"):
        Connection().acquire(NoRay(), DistributedParams(address="ray://head"))
