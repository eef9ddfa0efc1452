"""How the rows of a run are sent as batch jobs of the provider."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from asyncinfer.config.base import Count, Natural, Params, Positive
from asyncinfer.config.row_key import Unhashed


class BatchParams(Params):
    """Batch jobs of the provider, which cost less than single requests and take longer. None of this changes an
    answer: a run may be resumed with or without batch jobs.
    """

    enabled: Unhashed[bool] = True
    """Send the rows as batch jobs. false: send one request for each row."""
    retry: Unhashed[Literal["batch", "online"]] = "batch"
    """How failed rows are sent again: in a further batch job, or one by one, at the price of single requests."""
    max_retries: Unhashed[Natural] = 2
    """In how many further jobs a row may be sent after failures that may be temporary."""
    max_rows: Unhashed[Count | None] = None
    """The most rows of one job. null: as many as the provider allows."""
    max_bytes: Unhashed[Count | None] = None
    """The most bytes of one job's requests. null: as many as the provider allows."""
    max_jobs: Unhashed[Count] = 100
    """The most jobs that have not ended, at the same time."""
    poll_interval: Unhashed[Positive] = 60.0
    """Seconds between two requests for the state of the jobs, at first. One request is enough for all jobs."""
    max_poll_interval: Unhashed[Positive] = 300.0
    """Seconds; the interval grows up to this while nothing changes."""
    cancel_on_exit: Unhashed[bool] = False
    """Cancel the jobs when the run is stopped. By default they go on, and the next run gets their results."""
    storage: Unhashed[str | None] = None
    """For providers that read and write files in your storage: a bucket and prefix, such as `s3://bucket/prefix` or
    `gs://bucket/prefix`."""
    role: Unhashed[str | None] = None
    """For Bedrock: the ARN of the role that may read and write these files."""

    @model_validator(mode="after")
    def _check_intervals(self) -> BatchParams:
        if self.max_poll_interval < self.poll_interval:
            low, high = self.poll_interval, self.max_poll_interval
            raise ValueError(f"max_poll_interval ({high}) must not be less than poll_interval ({low})")
        return self
