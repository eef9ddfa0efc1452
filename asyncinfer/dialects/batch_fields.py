"""Reads fields of batch jobs and of their results. A field may be missing or have any type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict, cast
from urllib.parse import quote, urlencode

from pydantic_core import to_json

from asyncinfer.dialects.error_body import excerpt
from asyncinfer.dialects.fields import as_list
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.json_text import read_json
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus
from asyncinfer.types.http import HttpResponse, malformed_response
from asyncinfer.types.times import parse_date


def line_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line of the results of a job.

    Raises:
        RequestError: The line is not a JSON object.
    """
    if has_too_many_values(line):
        raise malformed_response("has a line with more values than any answer has")
    try:
        value = read_json(line)
    except ValueError as error:
        raise malformed_response(f"has a line that is not JSON ({error}): {excerpt(line)}") from None
    if not isinstance(value, dict):
        raise malformed_response(f"has a line that is not a JSON object: {excerpt(line)}")
    return cast(dict[str, Any], value)


def required_text(data: Mapping[str, Any], key: str) -> str:
    """Return the text under `key`.

    Raises:
        RequestError: There is no text, or it is empty.
    """
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise malformed_response(f"has no {key}")
    return value


def optional_text(data: Mapping[str, Any], key: str) -> str | None:
    """Return the text under `key`; None if there is no text, or it is empty."""
    value = data.get(key)
    return value if isinstance(value, str) and value else None


def required_custom_id(*candidates: object) -> str:
    """Return the first of several values that may be the id of a row.

    Raises:
        RequestError: None of them is a text.
    """
    found = next((value for value in candidates if isinstance(value, str) and value), None)
    if found is None:
        raise malformed_response("has a line without the id of a row")
    return found


def objects_at(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in the list under `key`. Other members are left out."""
    return [entry for entry in as_list(data.get(key)) if isinstance(entry, dict)]


def time_at(data: Mapping[str, Any], key: str) -> datetime | None:
    """Return the time under `key`, an RFC 3339 text, in UTC."""
    value = data.get(key)
    seconds = parse_date(value) if isinstance(value, str) else None
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


class EndTimes(TypedDict):
    """The times of `BatchInfo` that say when a job ended. At most one is set."""

    completed_at: datetime | None
    failed_at: datetime | None
    expired_at: datetime | None
    canceled_at: datetime | None


def end_times(status: BatchStatus, ended: datetime | None) -> EndTimes:
    """Return the time at which a job ended, under the name for its status. Such APIs have one field for it."""
    return {
        "completed_at": ended if status is BatchStatus.COMPLETED else None,
        "failed_at": ended if status is BatchStatus.FAILED else None,
        "expired_at": ended if status is BatchStatus.EXPIRED else None,
        "canceled_at": ended if status is BatchStatus.CANCELLED else None,
    }


def epoch_seconds(time: datetime | None) -> int:
    """Return a time as seconds since the epoch; 0 if it is not known."""
    return 0 if time is None else int(time.timestamp())


def token_page(batches: list[BatchInfo], token: str | None) -> BatchListResponse:
    """Return a page of a list of jobs whose next page is named by a token; None: no page follows."""
    return BatchListResponse(batches, batches[0].id if batches else None, token, token is not None)


def as_response(value: Any, status: int = 200) -> HttpResponse:
    """Return the response that a part of a line stands for.

    Raises:
        RequestError: The part is nested too deeply.
    """
    try:
        return HttpResponse(status, {}, to_json(value, inf_nan_mode="constants"))
    except (ValueError, RecursionError) as error:
        raise malformed_response(f"has a line that cannot be read: {error}") from None


def unanswered(why: str, *, is_cancelled: bool = False) -> RequestError:
    """Return the error for a request that a job did not get to. It may succeed in another job.

    Args:
        is_cancelled: Somebody cancelled the job. The next run sends the request again.
    """
    kind = InferenceErrorType.CANCELLED if is_cancelled else InferenceErrorType.API_STATUS
    return RequestError(why, error_type=kind, is_retryable=True)


def segment(name: str) -> str:
    """Return `name` as one segment of a path."""
    return quote(name, safe="")


def query_of(**values: object) -> str:
    """Return a query with the values that are not None."""
    return urlencode({name: value for name, value in values.items() if value is not None})
