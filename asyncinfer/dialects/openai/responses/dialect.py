"""The dialect of the Responses API, with the differences of a server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Patterns, Quirks
from asyncinfer.dialects.openai.response import usage_of
from asyncinfer.dialects.openai.responses.request import (
    OPENAI_RESPONSES,
    SUPPORTED,
    ResponsesEncoder,
    ResponsesQuirks,
)
from asyncinfer.dialects.openai.responses.response import decode
from asyncinfer.dialects.openai.responses.stream import ResponsesEventDecoder
from asyncinfer.dialects.sse import SSEStreamDecoder


def openai_responses(quirks: Quirks = NO_QUIRKS, responses: ResponsesQuirks = OPENAI_RESPONSES) -> Dialect:
    """Return the dialect of a server.

    Args:
        quirks: The quirks of its chat completions. Those of messages, files, schemas and models apply here too.
        responses: Further differences.
    """
    # Only vLLM documents a field for regular expressions and choices.
    patterns = quirks.patterns if quirks.patterns is Patterns.VLLM else Patterns.NONE
    schemas, documents = responses.schemas or quirks.schemas, responses.documents or quirks.documents
    quirks = replace(quirks, patterns=patterns, schemas=schemas, documents=documents)
    encoders = _ResponsesEncoders(quirks, responses)
    # This API has a field for the effort, whatever the server's chat completions have.
    supported = quirks.supported(SUPPORTED | responses.extensions) | {"reasoning_effort"}
    return Dialect(
        encoders,
        decode,
        _stream_decoder,
        supported,
        path="/responses",
        guides_with_tools=quirks.guides_with_tools,
        usage_of=usage_of,
    )


@dataclass(frozen=True, slots=True)
class _ResponsesEncoders:
    """Makes the encoder of a call for a server with these differences."""

    quirks: Quirks
    responses: ResponsesQuirks

    def __call__(self, settings: EncoderSettings) -> ResponsesEncoder:
        return ResponsesEncoder(settings, self.quirks, self.responses)


def _stream_decoder() -> SSEStreamDecoder:
    return SSEStreamDecoder(ResponsesEventDecoder())
