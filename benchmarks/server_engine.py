"""An engine that answers at once, and what it costs to call it directly, without a server.

python benchmarks/server_engine.py serve          serves it on a free port, and prints the port
python benchmarks/server_engine.py direct COUNT   prints the CPU time of COUNT calls, with one delta and with many
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

from asyncinfer import (
    BoundEngine,
    CallSettings,
    Completion,
    Conversation,
    FinishReason,
    Message,
    ModelParams,
    RemoteParams,
    Role,
    StreamDelta,
    Usage,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.serve import serve

DELTAS = 256
ANSWER = Completion(Message(role=Role.ASSISTANT, content="word " * 64), FinishReason.STOP, Usage(10, 64, 74))
QUESTION = Conversation(messages=[Message(role=Role.USER, content="Tell a story.")])


class InstantEngine(BaseInferenceEngine):
    """Answers at once; streams `DELTAS` deltas, one in each turn of the event loop."""

    engine_type = "INSTANT"

    def __init__(self) -> None:
        super().__init__(
            ModelParams(model_name="instant"),
            remote_params=RemoteParams(num_workers=64, use_adaptive_concurrency=False),
        )

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"max_new_tokens", "temperature"}

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _Bound()


class _Bound(BoundEngine):
    async def generate(self, conversation: Conversation) -> Completion:
        return ANSWER

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        for _ in range(DELTAS):
            yield StreamDelta("word ")
            await asyncio.sleep(0)
        yield StreamDelta.last(None, FinishReason.STOP, Usage(10, DELTAS, 10 + DELTAS))


async def run_server() -> None:
    def show(url: str) -> None:
        print(url.rpartition(":")[2], flush=True)

    await serve(InstantEngine(), port=0, on_listening=show)


async def direct(count: int) -> dict[str, float]:
    """CPU time in microseconds: of a whole answer, and of a delta.

    The time of a delta is the time of a streamed answer minus the time of a whole one, divided by the number of deltas.
    """
    engine = InstantEngine()
    await engine.agenerate(QUESTION)
    began = time.process_time()
    for _ in range(count):
        await engine.agenerate(QUESTION)
    whole = (time.process_time() - began) / count
    began, streams = time.process_time(), max(1, count // 50)
    for _ in range(streams):
        async with engine.astream(QUESTION) as stream:
            async for _delta in stream:
                pass
    streamed = (time.process_time() - began) / streams
    return {"request_us": whole * 1e6, "delta_us": (streamed - whole) / DELTAS * 1e6}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(run_server())
    else:
        print(json.dumps(asyncio.run(direct(int(sys.argv[2])))))
