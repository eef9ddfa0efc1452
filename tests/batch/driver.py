"""Sends the requests of the operations of a batch dialect, without an engine: each one whole, by a plain client."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import aiohttp
import anyio
from yarl import URL

from asyncinfer.config import GenerationParams, ModelParams, RemoteParams
from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.dialects.batch import BatchAnswer, BatchDialect, JobFile
from asyncinfer.dialects.batch_steps import API, UNSIGNED, BatchContext, Exchange, Step, Steps, Upload
from asyncinfer.dialects.batch_steps import BatchContext as Context
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.providers.provider import Provider
from asyncinfer.types.answer import Completion
from asyncinfer.types.batch import BatchInfo
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.message import Message, Role

T = TypeVar("T")


class Driver:
    """Runs the operations of the batch API of a provider.

    Args:
        chat_url: The URL for chats.
        api_key: The key of the API; None if the environment has credentials.
        environ: The environment variables.
    """

    def __init__(
        self,
        provider: Provider,
        chat_url: str,
        model: str,
        *,
        api_key: str | None = "sk-secret",
        environ: Mapping[str, str] | None = None,
        storage: str | None = None,
        role: str | None = None,
    ) -> None:
        assert provider.batch is not None
        self.provider, self.dialect, self.model = provider, provider.batch, model
        remote, environ = RemoteParams(api_key=api_key), environ or {}
        self._signers = {
            service: auth.signer(provider.name, remote, environ)
            for service, auth in {API: provider.auth, **provider.batch_auth}.items()
        }
        self.context = Context(
            chat_url=chat_url,
            base_url=chat_url.removesuffix(provider.dialect.path),
            model=model,
            headers=provider.dialect.headers,
            storage=storage,
            role=role,
            variables={name: environ[name] for name in self.dialect.variables if name in environ},
        )

    async def run(self, steps: Steps[T]) -> T:
        """Send the requests of an operation, and return its result."""
        try:
            step = next(steps)
            while True:
                try:
                    response = await self.send(step)
                except RequestError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            return end.value

    async def submit(
        self, folder: Path, rows: dict[str, Conversation], tag: str = "asyncinfer-0a1b", **generation: object
    ) -> str:
        """Submit a job with these rows, and return its id."""
        file = write_job(self.dialect, self.context, self.provider.dialect, folder / "job.jsonl", rows, **generation)
        return await self.run(self.dialect.submit(self.context, file, tag, "24h"))

    async def status(self, batch_id: str) -> BatchInfo:
        return await self.run(self.dialect.status(self.context, batch_id))

    async def answers(self, batch_id: str) -> list[BatchAnswer]:
        """The lines of the results of a job. Lines that cannot be read are left out."""
        info = await self.status(batch_id)
        answers = list[BatchAnswer]()
        for exchange in await self.run(self.dialect.results(self.context, info)):
            response = await self.send(exchange)
            assert response.is_success, response.body
            for line in response.body.splitlines():
                try:
                    answers.append(self.dialect.answer(line))
                except RequestError:
                    continue
        return answers

    async def completions(self, batch_id: str) -> dict[str, Completion | RequestError]:
        """The answer or the error of each row of a job."""
        return {answer.custom_id: self.completion(answer) for answer in await self.answers(batch_id)}

    def completion(self, answer: BatchAnswer) -> Completion | RequestError:
        chat = self.dialect.dialect_for(self.model, self.provider.dialect)
        if answer.response is None:
            assert answer.error is not None
            return answer.error
        try:
            return chat.decode(answer.response)
        except RequestError as error:
            return error

    async def send(self, step: Step) -> HttpResponse:
        request = step.request
        if step.service != UNSIGNED:
            request = await self._signers[step.service](request)
        body = request.body
        if isinstance(step, Upload):
            body = step.before + await anyio.Path(step.path).read_bytes() + step.after
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    data=BytesIO(body) if body else None,
                    headers=dict(request.headers),
                    allow_redirects=not isinstance(step, Exchange),
                ) as response,
            ):
                return HttpResponse(response.status, dict(response.headers), await response.read())
        except aiohttp.ClientError as error:
            raise RequestError(str(error), error_type=InferenceErrorType.CONNECTION, is_retryable=True) from None


async def check_pages_of_jobs(driver: Driver, folder: Path, *, jobs: int, page: int) -> None:
    """Submit jobs, and check that two pages of the list have each of them once, newest first."""
    ids = [await driver.submit(folder, questions("a"), tag=f"asyncinfer-{number}") for number in range(jobs)]
    first = await driver.run(driver.dialect.listing(driver.context, None, page))
    second = await driver.run(driver.dialect.listing(driver.context, first.last_id, page))
    assert [job.id for job in first.batches + second.batches] == ids[::-1]
    assert (first.has_more, second.has_more) == (True, False)


def write_job(
    batch: BatchDialect,
    context: BatchContext,
    chat: Dialect,
    path: Path,
    rows: dict[str, Conversation],
    **generation: object,
) -> JobFile:
    """Write the file of a job."""
    settings = EncoderSettings(
        context.chat_url, ModelParams(model_name=context.model), GenerationParams.model_validate(generation)
    )
    encode = batch.dialect_for(context.model, chat).encoder_for(settings)
    lines = [batch.line(context, custom_id, encode(conversation)) for custom_id, conversation in rows.items()]
    assert not any(b"\n" in line for line in lines)
    content = batch.separator.join(lines)
    path.write_bytes(content)
    return JobFile(path, len(content), len(rows))


def questions(*texts: str) -> dict[str, Conversation]:
    """Rows that ask these questions, with their ids."""
    return {
        f"row-{number}": Conversation(messages=[Message(role=Role.USER, content=text)])
        for number, text in enumerate(texts)
    }


def texts(completions: Mapping[str, Completion | RequestError]) -> dict[str, object]:
    """The text of each answer, or its error."""
    return {
        custom_id: found.message.content if isinstance(found, Completion) else found
        for custom_id, found in completions.items()
    }
