"""Loads a server of OpenAI's chat completions, and reports what `vllm bench serve` reports: throughput and latencies.

    python benchmarks/server_load.py http://127.0.0.1:8000/v1 MODEL [--clients 32] [--requests 128] [--tokens 32]

Each client sends its next request when the answer to the last one is complete. In a stream, each event with text counts
as one token: servers that join tokens in one event seem slower than they are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

QUESTION = "Tell a long story about the harbour of town number {}, its ships and its people."


class Load(NamedTuple):
    """What is sent.

    Args:
        clients: How many clients send requests at once.
        requests: How many requests they send together.
        tokens: Maximum number of tokens of an answer.
        stream: Whether the answers are streamed.
        more: Further fields of each request.
    """

    clients: int = 32
    requests: int = 128
    tokens: int = 32
    stream: bool = True
    more: Mapping[str, Any] | None = None


class Times(NamedTuple):
    """When the parts of one answer arrived, in seconds since its request."""

    parts: list[float]
    end: float
    tokens: int


async def ask(session: aiohttp.ClientSession, url: str, model: str, load: Load, number: int) -> Times:
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION.format(number)}],
        "max_tokens": load.tokens,
        "stream": load.stream,
        **(load.more or {}),
    }
    began, parts, tokens = time.perf_counter(), list[float](), 0
    async with session.post(f"{url}/chat/completions", json=fields) as response:
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {await response.text()}")
        if not load.stream:
            tokens = (await response.json())["usage"]["completion_tokens"]
        else:
            async for line in response.content:
                if has_text(line):
                    parts.append(time.perf_counter() - began)
            tokens = len(parts)
    return Times(parts, time.perf_counter() - began, tokens)


def has_text(line: bytes) -> bool:
    """Whether a line of a stream has a part of the answer."""
    if not line.startswith(b"data: {") or b'"content":' not in line:
        return False
    choices = json.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


async def measure(url: str, model: str, load: Load) -> dict[str, float]:
    """The requests and tokens per second, and the latencies in milliseconds."""
    numbers, times = iter(range(load.requests)), list[Times]()
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def client() -> None:
            for number in numbers:
                times.append(await ask(session, url, model, load, number))

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(load.clients)))
        seconds = time.perf_counter() - began
    first = sorted(answer.parts[0] for answer in times if answer.parts)
    gaps = [after - before for answer in times for before, after in zip(answer.parts, answer.parts[1:], strict=False)]
    return {
        "requests_per_s": load.requests / seconds,
        "tokens_per_s": sum(answer.tokens for answer in times) / seconds,
        "first_token_ms": statistics.median(first) * 1e3 if first else 0.0,
        "first_token_p99_ms": first[int(len(first) * 0.99)] * 1e3 if first else 0.0,
        "between_tokens_ms": statistics.median(gaps) * 1e3 if gaps else 0.0,
        "request_ms": statistics.median(answer.end for answer in times) * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    load = Load(args.clients, args.requests, args.tokens)
    print(json.dumps(asyncio.run(measure(args.url, args.model, load)), indent=2))


if __name__ == "__main__":
    main()
