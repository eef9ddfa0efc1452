"""The server of one case, in a process of its own: the least of HTTP, so that it costs the client little CPU.

It prints its port, and its statistics as JSON once its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

from adaptive_cases import ANSWER_TOKENS, Case, tokens_of

_REASONS = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: closing sends RST


def response(status: int, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    text = json.dumps(body)
    fields = {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


def answer(prompt_tokens: int, headers: dict[str, str]) -> bytes:
    total = prompt_tokens + ANSWER_TOKENS
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": ANSWER_TOKENS, "total_tokens": total},
    }
    return response(200, body, headers)


class Connection(asyncio.Protocol):
    """Reads requests by their Content-Length."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._server.handle(self, body)

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def reset(self) -> None:
        if not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()


@dataclass
class Counts:
    """Requests by the second in which they came: admitted, refused by the limit, failed for another reason."""

    seconds: int
    admitted: list[int] = field(init=False)
    refused: list[int] = field(init=False)
    failed: list[int] = field(init=False)
    answered: int = 0

    def __post_init__(self) -> None:
        self.admitted, self.refused, self.failed = ([0] * self.seconds for _ in range(3))


class Server:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.limit = case.limit(case.seconds)
        self.connections: set[Connection] = set()
        self.counts = Counts(math.ceil(case.seconds))
        self.began: float | None = None
        self._chance = random.Random(0)
        self._requests = 0
        self._answer = answer(10, {})

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._listen(0)
        self._port = self._listener.sockets[0].getsockname()[1]
        print(self._port, flush=True)
        closed = asyncio.Event()
        self._loop.add_reader(sys.stdin.fileno(), closed.set)
        await closed.wait()
        counts = vars(self.counts)
        print(json.dumps({**counts, "began": self.began, "used": self.limit.used}), flush=True)

    def handle(self, connection: Connection, body: bytes) -> None:
        at = self._now()
        outage = self.case.outage
        if outage is not None and outage.at <= at < outage.at + outage.seconds:
            self._count(self.counts.failed, at)
            if isinstance(outage.kind, int):
                self._fail(connection, outage.kind)
            else:
                connection.reset()
        elif self._hit_by_noise():
            self._count(self.counts.failed, at)
            assert self.case.noise is not None
            self._fail(connection, self._chance.choice(self.case.noise.statuses))
        else:
            self._ask(connection, body, at)

    def _now(self) -> float:
        """Seconds since the first request."""
        now = self._loop.time()
        if self.began is None:
            self.began = now
            outage = self.case.outage
            if outage is not None and not isinstance(outage.kind, int):
                self._loop.call_later(outage.at, self._go_down)
            if outage is not None and outage.kind == "refused":
                self._loop.call_later(outage.at + outage.seconds, self._come_back)
        return now - self.began

    def _ask(self, connection: Connection, body: bytes, at: float) -> None:
        prompt, most = self._tokens(body)
        wait = self.limit.admit(at, prompt + most)
        if wait is None:
            self._count(self.counts.refused, at)
            hint = {"Retry-After": f"{max(1, math.ceil(self.limit.retry_after(at)))}"} if self.case.retry_after else {}
            self._fail(connection, self.case.status, {**self.limit.headers(at), **hint})
            return
        self._count(self.counts.admitted, at)
        headers = self.limit.headers(at)
        data = answer(prompt, headers) if headers or prompt else self._answer
        self._loop.call_later(wait + self.case.latency, self._finish, connection, at, data)

    def _finish(self, connection: Connection, began: float, data: bytes) -> None:
        now = self._now()
        self.limit.finish(began, now)
        self.counts.answered += now < self.case.seconds
        connection.send(data)

    def _fail(self, connection: Connection, status: int, headers: dict[str, str] | None = None) -> None:
        message = "Rate limit reached." if status == 429 else "The server cannot answer now."
        connection.send(response(status, {"error": {"message": message}}, headers or {}))

    def _hit_by_noise(self) -> bool:
        noise = self.case.noise
        if noise is None:
            return False
        self._requests += 1
        return self._requests % round(1 / noise.share) == 0 if noise.in_turn else self._chance.random() < noise.share

    def _tokens(self, body: bytes) -> tuple[int, int]:
        """The tokens of the prompt, and the most that the answer may have."""
        if not self.case.counts_tokens:
            return 0, 0
        asked = json.loads(body)
        most = asked.get("max_completion_tokens") or asked.get("max_tokens") or 0
        return sum(tokens_of(message["content"]) for message in asked["messages"]), most

    def _count(self, counts: list[int], at: float) -> None:
        if at < self.case.seconds:
            counts[int(at)] += 1

    async def _listen(self, port: int) -> None:
        self._listener = await self._loop.create_server(lambda: Connection(self), "127.0.0.1", port, backlog=1024)

    def _go_down(self) -> None:
        assert self.case.outage is not None
        if self.case.outage.kind == "refused":
            self._listener.close()
        for connection in list(self.connections):
            connection.reset()

    def _come_back(self) -> None:
        self._back = asyncio.ensure_future(self._listen(self._port))


def serve(case: Case) -> None:
    asyncio.run(Server(case).run())
