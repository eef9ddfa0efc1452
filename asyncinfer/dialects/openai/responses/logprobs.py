"""The log probabilities of the tokens of a text, in the parts of a message and in the events of a stream.

Sources: `Logprob` of openai-python 3.57, in `ResponseOutputText` and `ResponseTextDeltaEvent`, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncinfer.dialects.fields import as_object, members_of
from asyncinfer.dialects.openai.logprobs import token_entries
from asyncinfer.dialects.openai.responses.output_reader import messages_in

# The value of `include` that asks for log probabilities.
INCLUDE_LOGPROBS = "message.output_text.logprobs"


def logprobs_in(items: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the log probabilities of the tokens of the messages among output items."""
    parts = [as_object(part) for item in messages_in(items) for part in members_of(item.get("content"))]
    return tuple(entry for part in parts for entry in logprobs_of(part))


def logprobs_of(part: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the log probabilities in a part of a message, or in an event of a stream."""
    given = part.get("logprobs")
    return tuple(token_entries(members_of(given))) if given else ()
