"""The requests in Bedrock's batch jobs. All requests of a job have one of two formats.

Claude models get Anthropic's Messages (`InvokeModel`), because jobs in the format of Converse refuse tools. All other
models get Converse, which has one format for all of them. Source: "Process multiple prompts with batch inference" in
the user guide of Bedrock, November 2026.
"""

from __future__ import annotations

from dataclasses import replace

from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.anthropic.embedded import embedded_messages
from asyncinfer.dialects.base import Dialect, Encoder, EncoderSettings
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.bedrock.request import ConverseEncoder
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest

_CLAUDE_VERSION = "bedrock-2023-05-31"


def invocation_type(model: str) -> str:
    """Return the name of the format for this model."""
    return "InvokeModel" if _is_claude(model) else "Converse"


def job_dialect(model: str) -> Dialect:
    """Return the wire format of the requests and answers in a job."""
    return _CLAUDE if _is_claude(model) else _OTHERS


class JobConverseEncoder:
    """Makes requests of Converse that a job accepts.

    Raises:
        ConfigError: Bedrock does not support these settings.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        self._encode = ConverseEncoder(settings)
        self.dropped = self._encode.dropped
        self._sends_tools = settings.generation.tool_choice != "none"

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: A job does not support this request.
        """
        if conversation.tools and self._sends_tools:
            raise invalid_request("Bedrock's batch jobs support tools only for Anthropic's models")
        return self._encode(conversation, stream=stream)


def _is_claude(model: str) -> bool:
    """Whether the id of a model, of an inference profile or an ARN names a model of Anthropic."""
    return "anthropic." in model


def _claude_encoder(settings: EncoderSettings) -> Encoder:
    return embedded_messages(settings, _CLAUDE_VERSION)


_CLAUDE = replace(ANTHROPIC_MESSAGES, encoder=_claude_encoder)
_OTHERS = replace(BEDROCK_CONVERSE, encoder=JobConverseEncoder)
