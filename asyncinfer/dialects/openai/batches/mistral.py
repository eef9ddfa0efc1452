"""Batch jobs of Mistral.

The model is one of the job, and its window is a number of hours. A file with one request that the API refuses is
refused as a whole. A failed request has its error as a text in `response.body`.

Sources, November 2026: mistralai 3.7 (`client/models/batchjob.py`, `createbatchjobrequest.py`, `client/files.py`);
Mistral's "Batch processing" and "Known limitations", for limits.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.dialects.batch import TAG, BatchLimits
from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks, NewJob, Paging, Windows


def body(context: BatchContext, job: NewJob) -> dict[str, Any]:
    """Return the body of the request that creates a job."""
    return {
        "input_files": [job.file_id],
        "model": context.model,
        "endpoint": job.endpoint,
        "timeout_hours": job.hours,
        "metadata": {TAG: job.tag},
    }


MISTRAL = BatchQuirks(
    "MISTRAL",
    body=body,
    limits=BatchLimits(rows=100_000, bytes=512 * 10**6),
    windows=Windows(1, 168),
    jobs="/batch/jobs",
    job_pages=Paging.NUMBER,
    file_pages=Paging.NUMBER,
    names_endpoint=False,
    docs="https://docs.mistral.ai/inference/batch-processing",
)
