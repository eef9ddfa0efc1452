"""The dialect of OpenAI's chat completions, with the quirks of a server and, if it has one, its Responses API."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from asyncinfer.dialects.base import Dialect, EncoderSettings, Fallback
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Quirks, Schemas
from asyncinfer.dialects.openai.request import SUPPORTED, ChatEncoder
from asyncinfer.dialects.openai.response import decode, usage_of
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import SSEStreamDecoder
from asyncinfer.types.http import HttpResponse


def openai_chat(quirks: Quirks = NO_QUIRKS, *, responses: ResponsesQuirks | None = None) -> Dialect:
    """Return the dialect of a server with these quirks.

    Args:
        responses: The server also has OpenAI's Responses API, with these differences.
    """
    return Dialect(
        _ChatEncoders(quirks),
        decode,
        _stream_decoder,
        quirks.supported(SUPPORTED | quirks.extensions),
        path="/chat/completions",
        fallback=_fallback(quirks),
        responses=openai_responses(quirks, responses) if responses is not None else None,
        guides_with_tools=quirks.guides_with_tools,
        usage_of=usage_of,
    )


def _fallback(quirks: Quirks) -> Fallback | None:
    """Return the dialect that is used after an error has shown that the server or the model supports less."""
    if quirks.may_lack_json_schema:
        older = replace(quirks, may_lack_json_schema=False, schemas=Schemas.BARE)
        return Fallback(_lacks_json_schema, openai_chat(older))
    if quirks.hides_reasoning_models:
        every_name = replace(quirks, hides_reasoning_models=False, reasoning_models=("",))
        return Fallback(_refuses_sampling, openai_chat(every_name))
    return None


@dataclass(frozen=True, slots=True)
class _ChatEncoders:
    """Makes the encoder of a call for a server with these quirks."""

    quirks: Quirks

    def __call__(self, settings: EncoderSettings) -> ChatEncoder:
        return ChatEncoder(settings, self.quirks)


def _stream_decoder() -> SSEStreamDecoder:
    return SSEStreamDecoder(OpenAIEventDecoder())


def _lacks_json_schema(response: HttpResponse) -> bool:
    """Whether the server says that it supports `json_object`, but not the `json_schema` in the request."""
    return not response.is_success and b"json_schema" in response.body and b"json_object" in response.body


# OpenAI's error for a sampling parameter that a reasoning model refuses, such as `unsupported_value` of `temperature`.
_UNSUPPORTED = re.compile(rb'"code"\s*:\s*"unsupported_(?:value|parameter)"')
_SAMPLING = re.compile(
    rb'"param"\s*:\s*"(?:temperature|top_p|frequency_penalty|presence_penalty|logit_bias|stop|logprobs|top_logprobs)"'
)


def _refuses_sampling(response: HttpResponse) -> bool:
    """Whether the server says that the model does not support a sampling parameter in the request."""
    body = response.body
    return response.status == 400 and bool(_UNSUPPORTED.search(body) and _SAMPLING.search(body))
