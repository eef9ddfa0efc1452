"""The log probabilities of the tokens of a text, in the parts of a message and in the events of a stream.

Sources: `Logprob` of openai-python 3.57, in `ResponseOutputText` and `ResponseTextDeltaEvent`, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncinfer.dialects.fields import as_object, checked_depth, members_of
from asyncinfer.dialects.openai.responses.output_reader import messages_in

Json = dict[str, Any]
_KEYS = ("token", "bytes", "logprob")
_ALTERNATIVES = "top_logprobs"


def logprobs_in(items: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return the log probabilities of the tokens of the messages among output items.

    Raises:
        ValueError: They are nested too deeply.
    """
    parts = [as_object(part) for item in messages_in(items) for part in members_of(item.get("content"))]
    return [entry for part in parts for entry in logprobs_of(part)]


def logprobs_of(part: Mapping[str, Any]) -> list[Json]:
    """Return the log probabilities in a part of a message, or in an event of a stream. Raises as `logprobs_in`."""
    given = part.get("logprobs")
    return [_token(fields) for entry in members_of(given) if (fields := as_object(entry))] if given else []


def _token(entry: Mapping[str, Any]) -> Json:
    token = _known(entry)
    if _ALTERNATIVES in entry:
        token[_ALTERNATIVES] = [_known(as_object(one)) for one in members_of(entry[_ALTERNATIVES])]
    return checked_depth(token)


def _known(entry: Mapping[str, Any]) -> Json:
    return {key: entry[key] for key in _KEYS if key in entry}
