"""The batch API of an engine, with the settings of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from asyncinfer.batch.client import BatchClient
from asyncinfer.dialects.batch import BatchAnswer, BatchDialect
from asyncinfer.errors import RequestError
from asyncinfer.run.pricing import Pricing
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.usage import Usage


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
        pricing: The prices of the answers; None if they cost nothing.
    """

    dialect: BatchDialect
    client: BatchClient
    codec: Callable[[], Codec]
    window: str
    name: str
    target: str
    pricing: Pricing | None = None

    def line(self, custom_id: str, request: HttpRequest) -> bytes:
        """Return one line of a job's file."""
        return self.dialect.line(self.client.context, custom_id, request)

    def completion(self, codec: Codec, answer: BatchAnswer) -> Completion:
        """Return the completion in one result, with its cost. Blocks.

        Raises:
            RequestError: The row has no answer.
        """
        if answer.error is not None:
            raise answer.error
        assert answer.response is not None, "a result has a response or an error"
        try:
            completion = codec.decode(answer.response)
        except RequestError as error:
            error.usage = self._priced(error.usage)
            raise
        completion.metadata = {**(completion.metadata or {}), "service_tier": "batch"}
        completion.usage = self._priced(completion.usage, completion.metadata)
        return completion

    def _priced(self, usage: Usage | None, metadata: Mapping[str, Any] | None = None) -> Usage | None:
        if self.pricing is None or usage is None:
            return usage
        self.pricing.load()
        return self.pricing.priced(usage, None, None, metadata, is_batch=True)
