"""The parts that all requests of one call share."""

from __future__ import annotations

from typing import NamedTuple

from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import RemoteParams
from asyncinfer.dialects.base import Dialect, Encoder
from asyncinfer.engines.redaction import secrets_of
from asyncinfer.errors import InputError, invalid_request
from asyncinfer.providers.auth import Signer
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import with_files
from asyncinfer.types.http import HttpRequest, ResponseLimits


class RequestPlan(NamedTuple):
    """The parts that all requests of one call share.

    Args:
        target: The URL and the model.
        limits: The limits of each response.
        fallback: The plan for a server that does not support the dialect.
        likely_url: What the URL should probably be, if the server has no such path. None if it looks right.
        start_hint: How to start the server, if nothing listens at the URL.
    """

    target: tuple[str, str]
    dialect: Dialect
    encode: Encoder
    sign: Signer
    limits: ResponseLimits
    fallback: RequestPlan | None = None
    likely_url: str | None = None
    start_hint: str = ""

    async def request(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files are read and encoded in a thread, not on the event loop."""
        return (await self.sign(await self._encoded(conversation, stream)))._replace(limits=self.limits)

    async def _encoded(self, conversation: Conversation, stream: bool) -> HttpRequest:
        for message in conversation.messages:
            if not isinstance(message.content, str | None):
                return await ROWS.run(self._encode_files, conversation, stream)
        return self.encode(conversation, stream=stream)

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets that no message may contain."""
        return secrets_of(self.target[0], self.sign)

    def _encode_files(self, conversation: Conversation, stream: bool) -> HttpRequest:
        try:
            return self.encode(with_files(conversation), stream=stream)
        except InputError as error:
            raise invalid_request(str(error)) from None


def response_limits(remote: RemoteParams) -> ResponseLimits:
    """Return the limits of each response."""
    return ResponseLimits(remote.max_response_bytes, remote.max_compression_ratio, remote.stream_idle_timeout)
