"""Reads answers by the form of their body: one JSON value, a stream of events, or JSON values one after the other.

The media type does not decide. Servers leave it out, get it wrong, stream where they were not asked to, and send a
whole answer where a stream was requested.
"""

from __future__ import annotations

import re

from asyncinfer.dialects.base import Dialect, StreamDecoder
from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.json_text import read_json, values_in
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.usage import Usage

_LINE_END = re.compile(r"[\r\n]+")


def read_answer(dialect: Dialect, response: HttpResponse) -> Completion:
    """Return the answer in a successful response, whatever the form of its body.

    Raises:
        RequestError: The response has no complete answer.
    """
    body = response.body
    if not body.startswith(b"{") and dialect.is_stream(body, declared=False):
        return _folded(dialect.stream(), body)
    try:
        return dialect.decode(response)
    except RequestError as error:
        if error.error_type is InferenceErrorType.PARSE_ERROR and (answer := _of_events(dialect, body)) is not None:
            return answer
        error.usage = usage_in(dialect, body)
        raise


def usage_in(dialect: Dialect, body: bytes) -> Usage | None:
    """Return the tokens that a response without an answer reports; None if it reports none."""
    if b"sage" not in body or has_too_many_values(body):  # `usage` or `usageMetadata`
        return None
    try:
        return dialect.usage_of(as_object(read_json(body)))
    except (ValueError, RecursionError):
        return None


def _of_events(dialect: Dialect, body: bytes) -> Completion | None:
    """Return the answer in a body of JSON values that are the events of a stream; None if there is no answer.

    Raises:
        RequestError: One of the values is an error of the API.
    """
    lines = "".join(f"data: {_LINE_END.sub(' ', value)}\n\n" for value in values_in(body))
    if not lines:
        return None
    try:
        answer = _folded(dialect.stream(), lines.encode())
    except RequestError as error:
        if error.error_type is InferenceErrorType.API_STATUS:
            raise
        return None
    message = answer.message
    return answer if message.content or message.tool_calls or message.reasoning_content else None


def _folded(decoder: StreamDecoder, body: bytes) -> Completion:
    """Return the answer in the complete body of a stream.

    Raises:
        RequestError: The stream contains an error, or no complete answer.
    """
    try:
        return Completion.from_deltas([*decoder.feed(body), decoder.finish()])
    except RequestError as error:
        error.usage = decoder.usage
        raise
