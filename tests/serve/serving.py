"""A real server on a free port, and an engine whose answers a test chooses."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import openai
import uvicorn
from aiohttp import ClientSession

from asyncinfer import (
    Conversation,
    FinishReason,
    GenerationParams,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Role,
    Usage,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.serve import ServerSettings, create_app
from asyncinfer.serve.addresses import url_of
from asyncinfer.serve.server import _Server
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of Japan?"}]
ASK: Any = {"model": "my-model", "messages": QUESTION}
HELLO = Completion(Message(role=Role.ASSISTANT, content="Hello."), FinishReason.STOP, Usage(3, 4, 7))
Answer = Callable[[Conversation, CallSettings], Awaitable[Completion]]
SUPPORTED = frozenset(GenerationParams.model_fields) - {"extra_body"}


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until a condition is true."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


class ScriptedEngine(BaseInferenceEngine):
    """Answers with what `answer` returns, or with the deltas of `deltas`; records the requests.

    `asked` has the conversation and the settings of each attempt. `in_flight` counts the attempts in progress.
    """

    engine_type = "SCRIPTED"

    def __init__(
        self,
        answer: Answer | Completion = HELLO,
        *,
        workers: int = 8,
        generation: GenerationParams | None = None,
        **remote: object,
    ) -> None:
        values = {"num_workers": workers, "use_adaptive_concurrency": False, "max_retries": 0, **remote}
        super().__init__(
            ModelParams(model_name="my-model"),
            generation_params=generation,
            remote_params=RemoteParams.model_validate(values),
        )
        self.answer = answer
        self.deltas: Callable[[Conversation], AsyncIterator[StreamDelta]] | None = None
        self.asked: list[tuple[Conversation, CallSettings]] = []
        self.in_flight = 0
        self.is_closed = False

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return set(SUPPORTED)

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return _Bound(self, settings)

    async def _close(self) -> None:
        self.is_closed = True

    @property
    def generation(self) -> GenerationParams:
        """The settings of the last attempt."""
        return self.asked[-1][1].generation


class _Bound(BoundEngine):
    def __init__(self, engine: ScriptedEngine, settings: CallSettings) -> None:
        self._engine, self._settings = engine, settings

    async def generate(self, conversation: Conversation) -> Completion:
        engine = self._engine
        engine.asked.append((conversation, self._settings))
        if isinstance(engine.answer, Completion):
            return engine.answer
        engine.in_flight += 1
        try:
            return await engine.answer(conversation, self._settings)
        finally:
            engine.in_flight -= 1

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        engine = self._engine
        if engine.deltas is None:
            for delta in (await self.generate(conversation)).as_stream():
                yield delta
            return
        engine.asked.append((conversation, self._settings))
        engine.in_flight += 1
        try:
            async for delta in engine.deltas(conversation):
                yield delta
        finally:
            engine.in_flight -= 1


def remote_engine(
    url: str, *, model: str = "my-model", generation: GenerationParams | None = None, **remote: Any
) -> RemoteInferenceEngine:
    """An engine that asks the API at this URL."""
    return RemoteInferenceEngine(
        ModelParams(model_name=model),
        generation_params=generation,
        remote_params=RemoteParams(api_url=url, **remote),
    )


class RunningServer:
    """A running server."""

    def __init__(self, url: str, app: Any, session: ClientSession) -> None:
        self.url, self.app, self.session = url, app, session
        self._clients: dict[str, openai.AsyncOpenAI] = {}

    @property
    def api(self) -> str:
        return f"{self.url}/v1"

    @property
    def backend(self) -> Any:
        """The backend that answers. A request must have opened it."""
        return self.app.state.backend._opened

    def openai(self, key: str = "none") -> openai.AsyncOpenAI:
        """A client, which is closed with the server."""
        if key not in self._clients:
            self._clients[key] = openai.AsyncOpenAI(base_url=self.api, api_key=key, max_retries=0)
        return self._clients[key]

    async def close_clients(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def post(self, fields: Any, path: str = "/v1/chat/completions", **more: Any) -> tuple[int, Any]:
        """The status and the JSON of a response."""
        async with self.session.post(f"{self.url}{path}", json=fields, **more) as response:
            return response.status, await response.json()

    async def chat(self, **fields: Any) -> tuple[int, Any]:
        """The status and the JSON of the response to a chat."""
        return await self.post({**ASK, **fields})

    async def get(self, path: str, **more: Any) -> tuple[int, str]:
        """The status and the text of a response."""
        async with self.session.get(f"{self.url}{path}", **more) as response:
            return response.status, await response.text()


class _PromptServer(_Server):
    """A server that ends as soon as it is asked to. uvicorn polls, and waits for its clients even if all have gone."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], object]) -> None:
        super().__init__(config, on_listening)
        self._end = anyio.Event()

    def end(self) -> None:
        self._end.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # Sets the headers that all responses have.
        await self._end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in self.servers:
            listening.close()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()  # Let closed connections be noticed.
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


@asynccontextmanager
async def serving(engine: BaseInferenceEngine, *, app: Any = None, **settings: Any) -> AsyncGenerator[RunningServer]:
    """Serve an engine on a free port."""
    app = app or create_app(engine, ServerSettings(**settings), owns_engine=True)
    config, ready = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=5), anyio.Event()
    server = _PromptServer(config, ready.set)
    async with anyio.create_task_group() as tasks, ClientSession() as session:
        tasks.start_soon(server.serve)
        await ready.wait()
        [listening] = server.servers
        running = RunningServer(url_of(listening.sockets[0]), app, session)
        try:
            yield running
        finally:
            await running.close_clients()
            await session.close()
            server.end()
