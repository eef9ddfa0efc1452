"""A real `vllm serve`, with SmolLM2 and an adapter behind it, as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.asking import CAPITAL, TOKENS
from tests.smollm2 import Smollm2

MODEL, ADAPTER = "smollm2", "wild"
MAX_LENGTH = 1024
_PATIENCE = 300.0


class Direct(NamedTuple):
    """What the server answers."""

    text: str
    reason: str
    usage: dict[str, int]


class VllmServer:
    """A server on a port of its own; `start` waits until it answers, `kill` leaves nothing of it behind.

    Its chat template is the model's own, and ends with `begun`, if that is given: the beginning of the answer.
    """

    def __init__(self, files: Smollm2, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._files, self._home = files, home
        self._process: psutil.Popen | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def start(self) -> None:
        template = self._home / "template.jinja"
        template.write_text((self._files.model / "chat_template.jinja").read_text() + "{{ begun }}")
        options = {
            "model": self._files.model,
            "chat-template": template,
            "served-model-name": MODEL,
            "lora-modules": f"{ADAPTER}={self._files.adapter}",
            "max-lora-rank": 8,
            "host": "127.0.0.1",
            "port": self.port,
            "dtype": "float32",
            "max-model-len": MAX_LENGTH,
            "tool-call-parser": "hermes",
        }
        switches = ["--enable-lora", "--enable-auto-tool-choice", "--enforce-eager"]
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with self._log.open("ab") as log:
            self._process = psutil.Popen(
                [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments, *switches],
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        begun = time.monotonic()
        while not self._answers():
            late = time.monotonic() - begun > _PATIENCE
            if late or self._process.poll() is not None:
                self.kill()
                raise AssertionError(f"the server did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """At once, as a crash would: the server, its engine and the engine's worker."""
        if self._process is None or not self._process.is_running():
            return
        processes = [self._process, *self._process.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)
        self._process = None

    def ask(self, path: str, body: dict[str, Any] | None = None) -> str:
        """What the server answers at `path`, asked without the package."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read().decode()

    def answer(self, model: str = MODEL, **settings: Any) -> Direct:
        """The likeliest answer to `CAPITAL`, requested without the package. The engines are compared with it."""
        body = {"model": model, "messages": CAPITAL.to_dict()["messages"], "max_tokens": TOKENS, "temperature": 0.0}
        answered = json.loads(self.ask("/v1/chat/completions", {**body, **settings}))
        [choice], usage = answered["choices"], answered["usage"]
        counts = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        return Direct(choice["message"]["content"], choice["finish_reason"], counts)

    def tokens(self, messages: list[dict[str, Any]]) -> list[int]:
        """The prompt that these messages make."""
        return json.loads(self.ask("/tokenize", {"model": MODEL, "messages": messages}))["tokens"]

    def token(self, text: str) -> int:
        """The id of the one token that is `text`."""
        asked = {"model": MODEL, "prompt": text, "add_special_tokens": False}
        [token] = json.loads(self.ask("/tokenize", asked))["tokens"]
        return token

    def running(self) -> int:
        """How many requests the engine works on."""
        counts = [line for line in self.ask("/metrics").splitlines() if line.startswith("vllm:num_requests_running")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in counts)

    def _answers(self) -> bool:
        try:
            self.ask("/health")
        except OSError:
            return False
        return True

    @property
    def _log(self) -> Path:
        return self._home / "vllm.log"

    def _environment(self) -> dict[str, str]:
        offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        return {**os.environ, **offline, "HOME": str(self._home), "VLLM_CPU_KVCACHE_SPACE": "1"}
