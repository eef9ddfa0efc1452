"""Answers a file of requests in the format of OpenAI's batch API with any engine, as `vllm run-batch` does.

Sources, November 2026: the guide https://developers.openai.com/api/docs/guides/batch for the lines of both files; vLLM
0.32 (`entrypoints/launchers/run_batch.py`) reads and writes the same lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

import anyio
from anyio import CancelScope
from pydantic_core import from_json, to_json

from asyncinfer.aio.background_iterator import BackgroundIterator, Channel
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import task_group
from asyncinfer.dialects.openai.chat_writer import ChatWriter
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import InputError
from asyncinfer.scratch.atomic import async_replacing
from asyncinfer.serve.api_errors import api_error, bad_request
from asyncinfer.serve.backend import Backend, OpenBackend
from asyncinfer.serve.chat_request import read_chat_request
from asyncinfer.serve.metrics import Metrics
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.paths import open_regular

_CHATS = "/chat/completions"
_GROUP = 64


class BatchFileSummary(NamedTuple):
    """How many requests of a file were answered, and how many failed."""

    completed: int
    failed: int


class _Result(NamedTuple):
    line: bytes
    is_answered: bool


async def answer_batch_file(
    engine: BaseInferenceEngine, input_path: Path, output_path: Path, *, any_model: bool = True
) -> BatchFileSummary:
    """Answer each request of a JSONL file, and write a JSONL file with the responses as they come.

    A request that fails has a response with the status and the error. Memory does not grow with the file. The output
    replaces `output_path` when all requests have their responses.

    Args:
        any_model: Accept every name of a model; a remote engine asks for that model. Otherwise only the engine's.

    Raises:
        InputError: A line is not a request with a `custom_id`, or two have the same one; nothing was sent.
        ConfigError: The engine cannot answer with its settings.
    """
    await DISK.run(_check, input_path)
    slots = (await engine.access()).semaphore.most
    # The workers are the queue: no request waits for admission.
    settings = ServerSettings(any_model=any_model, max_queue=slots, allow_image_urls=True)
    backend = await Backend(engine, settings, Metrics()).open()
    # OpenAI's limit on choices is part of the request, which the file's author wrote.
    backend.settings = replace(backend.settings, max_choices=128)
    completed = failed = 0
    results = BackgroundIterator(partial(_answer_all, backend, input_path, slots))
    async with async_replacing(output_path) as output, aclosing(results):
        async for result in results:
            with CancelScope(shield=True):  # A write must end before the file is closed.
                await output.write(result.line)
            completed += result.is_answered
            failed += not result.is_answered
    return BatchFileSummary(completed, failed)


async def _answer_all(backend: OpenBackend, path: Path, slots: int, channel: Channel[_Result]) -> None:
    send, receive = anyio.create_memory_object_stream[bytes](0)

    async def work() -> None:
        async for line in receive:
            channel.send(await _answer(backend, line))

    async with receive, task_group() as tasks:
        for _ in range(slots):
            tasks.start_soon(work)
        async with send:
            lines = _lines(path)
            while group := await DISK.run(_group, lines):
                for line in group:
                    await send.send(line)


async def _answer(backend: OpenBackend, line: bytes) -> _Result:
    """Return the line of the output for one line of the input."""
    request = cast(dict[str, Any], from_json(line))
    try:
        status, body = 200, from_json(await _body(backend, request))
    except Exception as error:
        refusal = api_error(error)
        status, body = refusal.status, from_json(refusal.body())
    response = {"status_code": status, "request_id": f"req_{uuid4().hex}", "body": body}
    fields = {"id": f"batch_req_{uuid4().hex}", "custom_id": request["custom_id"], "response": response, "error": None}
    return _Result(to_json(fields) + b"\n", status == 200)


async def _body(backend: OpenBackend, request: dict[str, Any]) -> bytes:
    """Return the body of the response.

    Raises:
        ApiError: The request is wrong.
        Exception: The engine did not answer.
    """
    if not str(request.get("url")).endswith(_CHATS) or request.get("method", "POST") != "POST":
        raise bad_request(f"url: only POST requests to /v1{_CHATS} are supported.", "url")
    fields = request.get("body")
    if not isinstance(fields, dict):
        raise bad_request("body: should be an object.", "body")
    chat = await read_chat_request(cast(dict[str, Any], fields), backend.settings, backend.read_settings)
    model = backend.models.find(chat.model)
    chat = chat._replace(settings=chat.settings._replace(model=model.requested))
    answers = [await backend.answer(chat.conversation, chat.settings_of(choice)) for choice in range(chat.choices)]
    writer = ChatWriter(f"chatcmpl-{uuid4().hex}", int(time.time()), model.response_name, logprobs=chat.logprobs)
    return writer.whole(answers)


def _check(path: Path) -> None:
    """Check that every line has a `custom_id` of its own."""
    seen: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        try:
            request: Any = from_json(line)
        except ValueError as error:
            raise InputError(f"{path}, request {number}: is not JSON: {error}") from None
        given: object = cast(dict[str, Any], request).get("custom_id") if isinstance(request, dict) else None
        if not isinstance(given, str) or not given:
            raise InputError(f"{path}, request {number}: has no custom_id")
        if given in seen:
            raise InputError(f"{path}, request {number}: the custom_id {given!r} comes a second time")
        seen.add(given)
    if not seen:
        raise InputError(f"{path}: there are no requests in it")


def _lines(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        for line in file:
            if stripped := line.strip():
                yield stripped


def _group(lines: Iterator[bytes]) -> Sequence[bytes]:
    return [*islice(lines, _GROUP)]
