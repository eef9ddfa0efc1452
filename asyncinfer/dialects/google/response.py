"""Decodes responses of Gemini's own API, `generateContent`.

Sources: Google's "Generate content" reference (`GenerateContentResponse`) and google-genai 3.6, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from asyncinfer.dialects.fields import as_count
from asyncinfer.dialects.finish_reasons import Finish, ended_well, reason_of, without_cut_call
from asyncinfer.dialects.google.pieces import (
    OF_PARTS,
    Piece,
    candidates_in,
    is_first,
    last_usage,
    read_candidate,
    read_piece,
)
from asyncinfer.dialects.google.thoughts import signed
from asyncinfer.dialects.http import json_object, missing_answer
from asyncinfer.dialects.openai.response import error_in
from asyncinfer.dialects.provider_fields import ProviderFields
from asyncinfer.dialects.response_metadata import logprobs_metadata, metadata_of
from asyncinfer.types.answer import CHOICES, LOGPROBS, Completion, choice_fields
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.message import Message, Role


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response. For a blocked prompt, the answer is empty.

    Raises:
        RequestError: The response has no answer.
    """
    data = json_object(response)
    if data.get("error") and not data.get("candidates"):
        raise error_in(data["error"], response.body)
    try:
        piece = read_piece(data, is_whole=True)
        if data.get("error") and not ended_well(piece.finish):
            raise error_in(data["error"], response.body)
        if not piece.answered and piece.blocked is None:
            raise ValueError("neither a candidate nor a reason why there is none")
        completion = completion_of([piece], piece.finish)
        candidates = candidates_in(data.get("candidates"))
        others = [one for one in candidates if not is_first(one)]
        if others and len(candidates) > 1:
            pieces = [(as_count(one["index"]) or 0, [read_candidate(one, Piece(), is_whole=True)]) for one in others]
            completion.metadata = {**(completion.metadata or {}), CHOICES: choices_of(pieces)}
            return _with_first_choice(completion)
        return completion
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None


def choices_of(others: Iterable[tuple[int, list[Piece]]]) -> list[dict[str, Any]]:
    """Return the other candidates as `metadata["choices"]` has them."""
    return [_choice(index, pieces) for index, pieces in others]


def _choice(index: int, pieces: list[Piece]) -> dict[str, Any]:
    finish = next((piece.finish for piece in reversed(pieces) if piece.finish is not None), None)
    answer = completion_of(pieces, finish)
    return choice_fields(index, answer.message, answer.finish_reason, (answer.metadata or {}).get(LOGPROBS, ()))


def _with_first_choice(completion: Completion) -> Completion:
    metadata = completion.metadata or {}
    first = choice_fields(0, completion.message, completion.finish_reason, metadata.get(LOGPROBS, ()))
    return replace(completion, metadata={**metadata, CHOICES: [first, *metadata[CHOICES]]})


def completion_of(pieces: list[Piece], finish: Finish | None) -> Completion:
    """Combine the pieces into an answer."""
    calls = without_cut_call(finish, [call for piece in pieces for call in piece.calls])
    text, reasoning = "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)
    signatures = [piece.signature for piece in pieces if piece.signature]
    message = Message(
        role=Role.ASSISTANT,
        content=text if text or not calls else None,
        tool_calls=calls or None,
        reasoning_content=reasoning or None,
        **(signed(signatures[-1]) if signatures else {}),
    )
    usage = last_usage(pieces)
    blocked = next((piece.blocked for piece in pieces if piece.blocked is not None), None)
    is_blocked = finish is None and blocked is not None
    reason = FinishReason.CONTENT_FILTER if is_blocked else reason_of(finish, calls)
    described = {name: value for piece in pieces for name, value in piece.described.items()}
    if blocked is not None:
        described["block_reason"] = blocked
    fields = ProviderFields()
    for data, names in (level for piece in pieces for level in piece.kept):
        fields.add(data, names, joins_lists=names is OF_PARTS)
    described |= fields.metadata()
    described |= logprobs_metadata([entry for piece in pieces for entry in piece.logprobs])
    return Completion(message, reason, usage, metadata_of(finish, reason, described))
