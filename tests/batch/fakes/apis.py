"""The providers with batch APIs in OpenAI's format: their fakes, and a driver for the operations of their dialects."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from asyncinfer import BatchInfo, InferenceEngineType
from asyncinfer.dialects.batch import BatchAnswer, BatchDialect, JobFile
from asyncinfer.dialects.batch_steps import UNSIGNED, BatchContext, Step, Steps, Upload
from asyncinfer.dialects.http import HEADERS, as_json
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.transport.base import Transport
from asyncinfer.transport.default import default_transport
from asyncinfer.types.http import HttpRequest, HttpResponse
from tests.batch.fakes.base import KEY, FakeBatchServer
from tests.batch.fakes.fireworks import ACCOUNT, FireworksBatchServer
from tests.batch.fakes.mistral import MistralBatchServer
from tests.batch.fakes.openai import AzureBatchServer, GroqBatchServer, OpenAIBatchServer
from tests.batch.fakes.together import TogetherBatchServer

T = TypeVar("T")
Engine = InferenceEngineType
MODEL = "accounts/a/models/m"
SERVERS: dict[Engine, Callable[[], FakeBatchServer]] = {
    Engine.OPENAI: OpenAIBatchServer,
    Engine.AZURE_OPENAI: AzureBatchServer,
    Engine.PARASAIL: OpenAIBatchServer,
    Engine.GROQ: GroqBatchServer,
    Engine.TOGETHER: TogetherBatchServer,
    Engine.MISTRAL: MistralBatchServer,
    Engine.FIREWORKS: FireworksBatchServer,
}


class Api(NamedTuple):
    """The batch API of a provider, at a fake."""

    server: FakeBatchServer
    dialect: BatchDialect
    context: BatchContext
    transport: Transport

    async def do(self, steps: Steps[T]) -> T:
        """Carry out an operation: send what it yields, and give it the responses."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self.send(step))
        except StopIteration as end:
            return end.value

    async def send(self, step: Step) -> HttpResponse:
        """Send the request of a step."""
        request = step.request
        if step.service != UNSIGNED:
            request = request._replace(headers={**request.headers, "Authorization": f"Bearer {KEY}"})
        if isinstance(step, Upload):
            request = request._replace(body=step.before + step.path.read_bytes() + step.after)
        return await self.transport.send(request)

    def file(self, path: Path, questions: Sequence[str]) -> JobFile:
        """Write the file of a job with these questions. Their ids are `row-0` and so on."""
        rows = [
            self.dialect.line(self.context, f"row-{place}", chat_request(self.context, question))
            for place, question in enumerate(questions)
        ]
        content = self.dialect.separator.join(rows)
        path.write_bytes(content)
        return JobFile(path, len(content), len(rows))

    async def submit(self, path: Path, *questions: str, tag: str = "asyncinfer-1", window: str = "24h") -> str:
        return await self.do(self.dialect.submit(self.context, self.file(path, questions), tag, window))

    async def status(self, job_id: str) -> BatchInfo:
        return await self.do(self.dialect.status(self.context, job_id))

    async def answers(self, info: BatchInfo) -> list[BatchAnswer]:
        """Download and read all results of a job."""
        exchanges = await self.do(self.dialect.results(self.context, info))
        contents = [await self.send(exchange) for exchange in exchanges]
        return [self.dialect.answer(line) for content in contents for line in content.body.splitlines() if line]


@asynccontextmanager
async def running(
    engine: str, path: str = "/chat/completions", *, query: str = "", server: FakeBatchServer | None = None
) -> AsyncGenerator[Api]:
    """Run the fake of a provider, and check that it accepts all that is sent.

    Args:
        path: The path for chats, below `server.url`.
        query: The query of the URL for chats.
        server: The fake; by default, that of the provider.
    """
    dialect = CATALOG[engine].batch
    assert dialect is not None
    end = "/responses" if path.endswith("/responses") else "/chat/completions"
    async with server or SERVERS[Engine(engine)]() as running_server:
        url = running_server.url + path
        context = BatchContext(
            chat_url=url + (f"?{query}" if query else ""),
            base_url=url.removesuffix(end),
            query=query,
            model=MODEL,
            variables={"FIREWORKS_ACCOUNT_ID": ACCOUNT},
        )
        transport = default_transport()
        try:
            yield Api(running_server, dialect, context, transport)
        finally:
            await transport.aclose()
        assert running_server.problems == []


def chat_request(context: BatchContext, question: str) -> HttpRequest:
    """Return a request of a chat dialect."""
    messages = [{"role": "user", "content": question}]
    key = "input" if context.chat_url.endswith("/responses") else "messages"
    return HttpRequest(context.chat_url, HEADERS, as_json({"model": MODEL, key: messages}))


def texts(answers: Sequence[BatchAnswer]) -> dict[str, str]:
    """Return the texts of the answers of chat completions, by the ids of their rows."""
    found = [answer for answer in answers if answer.response is not None and answer.response.is_success]
    bodies = {answer.custom_id: json.loads(answer.response.body) for answer in found if answer.response is not None}
    return {custom_id: body["choices"][0]["message"]["content"] for custom_id, body in bodies.items()}
