"""Reads jobs. The names of fields and states differ between providers; all known ones are read.

Sources: see the modules of the providers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.fields import as_list, as_object, members_of, object_at
from asyncinfer.dialects.openai.batches.fields import first_count, first_text, first_time, listed_in, required_id
from asyncinfer.types.batch import BatchInfo, BatchStatus

# The words of other providers for the states of a job: Mistral and Fireworks.
_STATES = {status.value: status for status in BatchStatus} | {
    "created": BatchStatus.VALIDATING,
    "creating": BatchStatus.VALIDATING,
    "creating_input_dataset": BatchStatus.VALIDATING,
    "writing_results": BatchStatus.FINALIZING,
    "success": BatchStatus.COMPLETED,
    "succeeded": BatchStatus.COMPLETED,
    "timeout_exceeded": BatchStatus.EXPIRED,
    "early_stopped": BatchStatus.EXPIRED,
    "cancellation_requested": BatchStatus.CANCELLING,
    "deleting": BatchStatus.CANCELLED,
    "deleting_cleaning_up": BatchStatus.CANCELLED,
    "deleted": BatchStatus.CANCELLED,
    "archived": BatchStatus.CANCELLED,
}
_SHOWN_ERRORS = 3


def status_of(word: Any) -> BatchStatus:
    """Return the status that a word means, in upper or lower case and in American or British spelling.

    A word that is not known means that the job goes on.
    """
    text = str(word or "").strip().lower().removeprefix("job_state_")
    text = text.replace("canceling", "cancelling").replace("canceled", "cancelled")
    return _STATES.get(text, BatchStatus.IN_PROGRESS)


def job_info(data: Mapping[str, Any]) -> BatchInfo:
    """Return the job that an object describes. Together puts it under `job` when it is new.

    Raises:
        RequestError: The object has no id.
    """
    data = object_at(data, "job") or data
    status = status_of(data.get("status"))
    total, completed, failed = _counts(data)
    return BatchInfo(
        id=required_id(data, "id"),
        status=status,
        total_requests=total,
        completed_requests=completed,
        failed_requests=failed,
        endpoint=first_text(data, "endpoint"),
        input_file_id=first_text(data, "input_file_id") or _first_member(data.get("input_files")),
        batch_completion_window=first_text(data, "completion_window"),
        output_file_id=first_text(data, "output_file_id", "output_file"),
        error_file_id=first_text(data, "error_file_id", "error_file"),
        error=None if status is BatchStatus.COMPLETED else error_text(data),
        created_at=first_time(data, "created_at"),
        in_progress_at=first_time(data, "in_progress_at", "started_at"),
        expires_at=first_time(data, "expires_at", "job_deadline"),
        finalizing_at=first_time(data, "finalizing_at"),
        completed_at=first_time(data, "completed_at"),
        failed_at=first_time(data, "failed_at"),
        expired_at=first_time(data, "expired_at"),
        canceling_at=first_time(data, "cancelling_at", "canceling_at"),
        canceled_at=first_time(data, "cancelled_at", "canceled_at"),
        metadata=dict(object_at(data, "metadata")) or None,
    )


def error_text(data: Mapping[str, Any]) -> str | None:
    """Return the errors of a job as one text; None if it has none.

    OpenAI has a list under `errors.data`, Groq and Mistral under `errors`. Together has a text under `error`.
    """
    given: Any = data.get("errors") or data.get("error")
    errors = [text for one in members_of(as_object(given).get("data") or given) if (text := _one_error(one))]
    more = f"; {len(errors) - _SHOWN_ERRORS} more" if len(errors) > _SHOWN_ERRORS else ""
    return "; ".join(errors[:_SHOWN_ERRORS]) + more or None


def _one_error(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)[:1000] if error else ""
    fields = as_object(error)
    text = first_text(fields, "message", "code") or ""
    place = first_count(fields, "line")
    return f"line {place}: {text}" if text and place is not None else text


def _counts(data: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the numbers of all, answered and failed requests. Together reports only percents."""
    counts = object_at(data, "request_counts") or data
    total = first_count(counts, "total", "total_requests") or 0
    completed = first_count(counts, "completed", "succeeded_requests") or 0
    failed = first_count(counts, "failed", "failed_requests") or 0
    progress = data.get("progress")
    if not total and isinstance(progress, int | float) and 0 < progress <= 100:
        return 100, int(progress), 0
    return total, completed, failed


def _first_member(value: Any) -> str | None:
    return next((text for text in as_list(value) if isinstance(text, str)), None)


def jobs_in(data: Any) -> list[BatchInfo]:
    """Return the jobs of a page of a list. Entries that are not jobs are left out."""
    return [job_info(entry) for entry in listed_in(data, "data", "value") if first_text(entry, "id")]
