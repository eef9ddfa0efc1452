"""The batch API of an engine, with the settings of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from asyncinfer.batch.client import BatchClient
from asyncinfer.dialects.batch import BatchAnswer, BatchDialect
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest, HttpResponse


class Codec(Protocol):
    """Makes the requests of rows, and reads their answers. It blocks: it reads the files of rows."""

    def encode(self, conversation: Conversation) -> HttpRequest:
        """Return the request of the chat dialect.

        Raises:
            RequestError: The API does not support this conversation, or a file of it cannot be read.
        """
        ...

    def decode(self, response: HttpResponse) -> Completion:
        """Return the answer in a response.

        Raises:
            RequestError: The response is an error, or has no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class BatchApi:
    """The batch API of an engine, with the settings of one call.

    Args:
        window: The completion window of jobs, such as `24h`.
        name: The name of the provider in messages.
        target: What a job's requests go to: the URL, without credentials, and the model. For the saved state of jobs.
        codec: Makes the encoder and decoder. It raises ConfigError if the settings are wrong.
    """

    dialect: BatchDialect
    client: BatchClient
    codec: Callable[[], Codec]
    window: str
    name: str
    target: str

    def line(self, custom_id: str, request: HttpRequest) -> bytes:
        """Return one line of a job's file."""
        return self.dialect.line(self.client.context, custom_id, request)

    def completion(self, codec: Codec, answer: BatchAnswer) -> Completion:
        """Return the completion in one result.

        Raises:
            RequestError: The row has no answer.
        """
        if answer.error is not None:
            raise answer.error
        assert answer.response is not None, "a result has a response or an error"
        completion = codec.decode(answer.response)
        completion.metadata = {**(completion.metadata or {}), "service_tier": "batch"}
        return completion
