"""The connection of this process to Ray."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from asyncinfer.config import DistributedParams
from asyncinfer.errors import ConfigError, error_text

# The most characters of a message of Ray that errors contain.
_LONGEST_CAUSE = 600
# How long a cluster has to accept a connection (seconds).
_CONNECT_SECONDS = 10.0
# Ray takes an address that is not given, or is "auto", from here.
_VARIABLE = "RAY_ADDRESS"
# Ray replaces these hosts by the address of this machine.
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
# How HTTP/2 begins: the preface and empty settings. A frame has a head of 9 bytes; the fourth is its type.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEAD, _SETTINGS = 9, 4


class Connection:
    """The connection of this process to Ray, which all engines share.

    Attributes:
        is_local: `acquire` has started Ray on this machine, so there is no other machine.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._is_own = self.is_local = False

    def acquire(self, ray: Any, params: DistributedParams) -> bool:
        """Connect, unless the process is connected already. Returns whether this call has connected it.

        Raises:
            ConfigError: There is no cluster at the address, or Ray cannot be started.
        """
        with self._lock:
            is_new = not ray.is_initialized()
            if is_new:
                session = _connect(ray, params)
                # The name of a session ends with the process that has started Ray.
                self.is_local = params.address in (None, "local") and session.endswith(f"_{os.getpid()}")
                self._is_own, self._users = True, 0
            self._users += 1
            return is_new

    def release(self, ray: Any) -> None:
        """Disconnect if the last engine releases a connection that `acquire` has made."""
        with self._lock:
            self._users -= 1
            if self._is_own and self._users <= 0:
                self._is_own = self.is_local = False
                ray.shutdown()


CONNECTION = Connection()


def _connect(ray: Any, params: DistributedParams) -> str:
    """Connect to Ray, or start it. Returns the folder of its session.

    Raises:
        ConfigError: There is no cluster at the address, or Ray cannot be started.
    """
    address, where = _address_and_name(params.address)
    try:
        _check_address(ray, address)
        context = ray.init(
            address=params.address,
            runtime_env=params.runtime_env or None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return str(getattr(context, "address_info", {}).get("session_dir"))
    except (OSError, RuntimeError, ValueError) as error:
        why = f"cannot use Ray at {where}: {cause_of(error)}"
        raise ConfigError(f"distributed.address: {why}. `ray status` shows whether a cluster runs") from None


def _address_and_name(given: str | None) -> tuple[str | None, str]:
    """Return the address that Ray will use, and its name in messages."""
    from_environment = os.environ.get(_VARIABLE)
    if from_environment and given in (None, "auto"):
        return from_environment, f"{from_environment} (of the environment variable {_VARIABLE})"
    return given, given or "this machine"


def _check_address(ray: Any, address: str | None) -> None:
    """Check that a cluster listens at an address such as `10.0.0.1:6379`. Ray itself would try for a minute, and then
    end the process.

    Raises:
        OSError: Nothing listens there, or something else.
        ValueError: The address of a Ray client has no port.
    """
    scheme, _, place = (address or "").rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme == "ray" and not host:
        raise ValueError(f"the address has no port. The usual one is that of {address}:10001")
    if not host or not port.isdigit():
        return
    if host in _THIS_MACHINE and not scheme:
        host = ray.util.get_node_ip_address()  # As Ray does.
    with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("0", "false", ""):
            _check_protocol(connection)


def _check_protocol(connection: socket.socket) -> None:
    """Check that a gRPC server has accepted the connection: it answers the first bytes of HTTP/2 (RFC 9113, 3.4)."""
    try:
        connection.sendall(_HTTP2_PREFACE)
        answer = connection.recv(_FRAME_HEAD)
    except TimeoutError:
        answer = b""
    if len(answer) < _FRAME_HEAD or answer[3] != _SETTINGS:
        raise OSError("the server there is not Ray")


def cause_of(error: BaseException) -> str:
    """The message of an error of Ray, in one line."""
    text = " ".join(error_text(error).split())
    return text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE] + "..."
