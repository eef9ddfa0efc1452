"""The lines of the files of Vertex's batch jobs: requests in the format of the model's family, and results.

Sources, November 2026: Google Cloud's pages "Batch inference from Cloud Storage" (Gemini), "Batch predictions" for
Anthropic's Claude models (`custom_id` and `request`) and for open models (OpenAI's lines), and "Add labels to API
calls"; LiteLLM 1.110 (`llms/vertex_ai/files`, secondary), for the fields of results that these pages do not show.

Gemini's lines have no id. Labels of the request, which the results repeat, stand for it. The value of a label has at
most 63 characters: lower-case letters, digits, `-` and `_`.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import to_json

from asyncinfer.dialects.batch import BatchAnswer
from asyncinfer.dialects.batch_fields import as_response, line_object, required_custom_id
from asyncinfer.dialects.fields import as_object, count_at, object_at
from asyncinfer.dialects.google.jobs import error_response
from asyncinfer.dialects.http import error_within
from asyncinfer.dialects.json_text import read_json
from asyncinfer.types.http import HttpResponse, malformed_response

_LABEL, _ENCODED_LABEL = "asyncinfer-row", "asyncinfer-row-base32"
_LONGEST = 63
_PLAIN = re.compile(f"[-a-z0-9_]{{1,{_LONGEST}}}")


def gemini_line(custom_id: str, body: bytes) -> bytes:
    """Return the line of a request. The labels of the user are kept."""
    if b'"labels"' not in body:
        return b'{"request":%b,"labels":%b}}' % (body[:-1], to_json(_labels(custom_id)))
    request = line_object(body)
    request["labels"] = {**as_object(request.get("labels")), **_labels(custom_id)}
    return to_json({"request": request})


def claude_line(custom_id: str, body: bytes) -> bytes:
    return b'{"custom_id":"%b","request":%b}' % (custom_id.encode(), body)


def openai_line(custom_id: str, body: bytes) -> bytes:
    head = b'{"custom_id":"%b","method":"POST","url":"/v1/chat/completions","body":%b}'
    return head % (custom_id.encode(), body)


def answer(result_line: bytes) -> BatchAnswer:
    """Read one line of the results, of any family.

    Raises:
        RequestError: The line is not a result with the id of a row.
    """
    entry = line_object(result_line)
    labelled = _labelled_id(object_at(object_at(entry, "request"), "labels"))
    custom_id = required_custom_id(entry.get("custom_id"), labelled, entry.get("key"))
    if response := _response(entry):
        return BatchAnswer(custom_id, response)
    if isinstance(entry.get("status"), str) and entry["status"]:
        return BatchAnswer(custom_id, error=error_within(entry["status"], "the batch job answered with an error"))
    raise malformed_response("has a line with neither a response nor an error")


def _response(entry: Mapping[str, Any]) -> HttpResponse | None:
    """Return the response of the model in a line, or the one that an error stands for; None if there is neither."""
    response = object_at(entry, "response")
    if response and response.keys() & {"status_code", "body"}:
        return as_response(response.get("body"), count_at(response, "status_code") or 200)
    if response and not response.keys() <= {"error"}:
        return as_response(response)
    status = entry.get("status")
    embedded = _error_in_text(status) if isinstance(status, str) else status
    for error in (response.get("error"), entry.get("error"), embedded):
        if isinstance(error, dict) and error:
            return error_response(cast(dict[str, Any], error))
    return None


def _error_in_text(status: str) -> Any:
    """Return the error in a text such as `Bad Request: {"error": {...}}`; None if there is none."""
    try:
        found = read_json(status[status.index("{") :])
    except ValueError:
        return None
    return as_object(found).get("error")


def _labels(custom_id: str) -> dict[str, str]:
    """Return the labels that stand for an id. One that is not valid as a label is encoded, and may take several."""
    if _PLAIN.fullmatch(custom_id):
        return {_LABEL: custom_id}
    encoded = b32encode(custom_id.encode()).decode().rstrip("=").lower()
    pieces = [encoded[start : start + _LONGEST] for start in range(0, len(encoded), _LONGEST)]
    return {f"{_ENCODED_LABEL}-{number}": piece for number, piece in enumerate(pieces)}


def _labelled_id(labels: Mapping[str, Any]) -> str | None:
    """Return the id that labels stand for; None if there is none."""
    if isinstance(labels.get(_LABEL), str):
        return labels[_LABEL]
    pieces = list[str]()
    while isinstance(piece := labels.get(f"{_ENCODED_LABEL}-{len(pieces)}"), str):
        pieces.append(piece)
    encoded = "".join(pieces).upper()
    try:
        return b32decode(encoded + "=" * (-len(encoded) % 8)).decode() or None
    except ValueError:
        return None
