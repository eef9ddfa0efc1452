"""Decodes responses of the Responses API.

Source: `Response` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from asyncinfer.dialects.fields import as_object, members_of
from asyncinfer.dialects.finish_reasons import ended_well, reason_of
from asyncinfer.dialects.http import json_object, missing_answer
from asyncinfer.dialects.openai.response import error_of, usage_in
from asyncinfer.dialects.openai.responses.logprobs import logprobs_in
from asyncinfer.dialects.openai.responses.output_reader import answer_message
from asyncinfer.dialects.openai.responses.status import finish_of, problem_of
from asyncinfer.dialects.response_metadata import NAMES, description, logprobs_metadata, metadata_of
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response.

    Raises:
        RequestError: The response has no answer, or is not finished.
    """
    data = json_object(response)
    status = data.get("status")
    try:
        if problem := problem_of(data, status, response.body):
            raise problem
        finish = finish_of(data, status)
        if not ended_well(finish) and (error := error_of(data, response.body)):
            raise error
        message = answer_message(data["output"], finish)
        reason = reason_of(finish, message.tool_calls)
        logprobs = logprobs_in([as_object(item) for item in members_of(data["output"])])
        metadata = metadata_of(finish, reason, description(data, NAMES) | logprobs_metadata(logprobs))
        return Completion(message, reason, usage_in(data.get("usage")), metadata)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None
