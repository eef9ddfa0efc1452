"""Runs the command line, scripted or as it is, in forks of one process that has imported it.

A fork starts in milliseconds; a new process imports for most of a second. The server has one thread, so a fork has all
of it. Only what runs to its end, without signals and without a terminal, belongs here.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).parents[2]
_SECONDS = 60


class ForkServer:
    """The client. Close it at the end."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, server = socket.socketpair()
        self._socket.settimeout(_SECONDS)
        command = [sys.executable, "-m", "tests.cli.fork_server", str(server.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[server.fileno()])
        server.close()

    def run(
        self, args: list[str], environment: Mapping[str, str], input: bytes, *, scripted: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run `asyncinfer *args`, and return the exit code and what was written to stdout and stderr.

        `scripted`: With the scripted engine. False: with the real ones.
        """
        with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
            stdin.write(input)
            stdin.seek(0)
            job = json.dumps({"args": args, "environment": dict(environment), "scripted": scripted}).encode()
            pipes = [stdin.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(self._socket, [len(job).to_bytes(8, "big")], pipes)
            self._socket.sendall(job)
            code = int.from_bytes(self._socket.recv(8), "big", signed=True)
            return code, _content(stdout), _content(stderr)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(_SECONDS)


def _content(file: Any) -> bytes:
    file.seek(0)
    return file.read()


def serve(connection: socket.socket) -> bool:
    """Fork for each job. Only the forks return: whether to run the scripted command line."""
    while True:
        head, pipes, _, _ = socket.recv_fds(connection, 8, 3)
        if not head:
            os._exit(0)
        job = json.loads(_exactly(connection, int.from_bytes(head, "big")))
        if (pid := os.fork()) == 0:
            connection.close()
            _become(job, pipes)
            return job["scripted"]
        for pipe in pipes:
            os.close(pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(code.to_bytes(8, "big", signed=True))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def _become(job: dict[str, Any], pipes: list[int]) -> None:
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv[1:] = job["args"]


def import_commands() -> None:
    """Import what the commands import late."""
    import asyncinfer.cli

    for module in pkgutil.iter_modules(asyncinfer.cli.__path__, "asyncinfer.cli."):
        import_module(module.name)


if __name__ == "__main__":
    from asyncinfer.cli.main import main
    from tests.cli.scripted import run_scripted

    import_commands()
    # Otherwise the last collection of each fork goes through, and so copies, the objects of all modules: 150 ms.
    gc.collect()
    gc.freeze()
    command = run_scripted if serve(socket.socket(fileno=int(sys.argv[1]))) else main
    command()
