"""The lines of the files of a job: requests, results and failed requests.

A result is `{"custom_id", "response": {"status_code", "body"}, "error"}`. Fireworks has the body in place of the
response. Mistral has the body of a failed request as a text. Sources: see the modules of the providers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from asyncinfer.dialects.batch import BatchAnswer
from asyncinfer.dialects.batch_fields import line_object
from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.dialects.fields import as_count, as_object
from asyncinfer.dialects.http import as_response_json, error_within
from asyncinfer.dialects.openai.batches.fields import first_text, required_id
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.http import HttpRequest, HttpResponse, is_success, malformed_response

# Codes of requests that a job did not get to. They may succeed in another job (OpenAI).
_UNANSWERED = frozenset({"batch_expired", "batch_cancelled"})
# Statuses of codes that only jobs have. Together: the endpoint refused the request.
_STATUSES = {"batch_client_error": 400}
_FAILED = "the batch job did not answer this request"


def line(quirks: BatchQuirks, context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the file of requests. The request is of the chat dialect, and not streamed.

    Raises:
        ConfigError: Jobs cannot use the API that the engine uses.
    """
    head: dict[str, Any] = {"custom_id": custom_id}
    endpoint = quirks.endpoint(context)
    if quirks.names_endpoint:
        head |= {"method": "POST", "url": endpoint}
    body = request.body if quirks.request is None else quirks.request(context, request).body
    return b'%b,"body":%b}' % (to_json(head)[:-1], body)


def answer(line: bytes) -> BatchAnswer:
    """Read one line of the results.

    Raises:
        RequestError: The line is not an object with a `custom_id`.
    """
    data = line_object(line)
    custom_id = required_id(data, "custom_id")
    error = data.get("error")
    response = _response(data.get("response"))
    if response is not None and (response.is_success or not error):
        return BatchAnswer(custom_id, response)
    if error:
        return BatchAnswer(custom_id, error=_error(error))
    return BatchAnswer(custom_id, error=malformed_response("has a result without an answer"))


def _response(value: Any) -> HttpResponse | None:
    """Return the response of a request; None if there is none."""
    found = as_object(value)
    if not found:
        return None
    is_wrapped = "body" in found or "status_code" in found
    body = found.get("body") if is_wrapped else found
    status = (as_count(found.get("status_code")) or 0) if is_wrapped else 200
    status = status if 100 <= status < 600 else 200
    if not body and is_success(status):
        return None
    text = body.encode() if isinstance(body, str) else as_response_json(body)
    return HttpResponse(status, {}, text)


def _error(error: Any) -> RequestError:
    """Return the error of a request that has no response."""
    fields: Mapping[str, Any] = as_object(error)
    code = first_text(fields, "code")
    if code in _UNANSWERED:
        message = f"{_FAILED}: {fields.get('message') or code}"
        return RequestError(message, error_type=InferenceErrorType.API_STATUS, is_retryable=True)
    return error_within(as_response_json({"error": error}), _FAILED, _STATUSES.get(code or ""))
