"""How a remote endpoint is reached, and how hard it is pushed."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, SecretStr, model_validator

from asyncinfer.config.base import Count, Fraction, Natural, NonNegative, Params, Positive
from asyncinfer.types.masking import mask_url, masked_if_secret

# A URL whose credentials are masked in its repr and in JSON.
Url = Annotated[str, AfterValidator(masked_if_secret), PlainSerializer(mask_url, when_used="json-unless-none")]


class RemoteParams(Params):
    """An endpoint, its key, its limits."""

    api_url: Url | None = None
    """The endpoint; hosted engines have a default. Credentials in it are shown in no message, log or dump."""
    api_key: SecretStr | None = None
    """Shown in no message, log or dump; `${VAR}` reads it from the environment."""
    api_key_env_varname: str | None = None
    """The environment variable that holds the key."""
    user_id: str | None = None
    """An opaque id of the end user, for the provider's abuse reports."""
    max_retries: Natural = 5
    """Retries of a row after failures that may pass."""
    retry_backoff_base: Positive = 1.0
    """Seconds; the wait doubles with each retry, from this on."""
    retry_backoff_max: Positive = 30.0
    """Seconds; the longest backoff. A `Retry-After` from the server is waited for in full, up to `max_wait`."""
    max_wait: Positive = 900.0
    """Seconds; the longest wait that the endpoint may request. If it requests more, the run ends and can be resumed."""
    max_outage: Positive = 900.0
    """Seconds without any answer after which the run ends. It can be resumed."""
    connection_timeout: NonNegative = 300.0
    """Seconds for a whole request; for a stream, until it begins. 0: no limit, but a request fails when the server
    sends nothing for an hour."""
    stream_idle_timeout: NonNegative | None = None
    """Seconds for which a stream may bring no part of the answer. Comments, pings and empty events do not count as
    parts. 0: no limit. null: as `connection_timeout`."""
    max_response_bytes: Count = 64 * 2**20
    """The largest response, after decompression. A stream may have four times as much in all."""
    max_compression_ratio: Count = 100
    """The largest ratio of decompressed to compressed size. Applies to responses above 1 MiB."""
    num_workers: Count = 50
    """The most requests in flight at once."""
    requests_per_minute: Count | None = None
    """The provider's limit, if you know it."""
    input_tokens_per_minute: Count | None = None
    """The provider's limit on prompt tokens, if you know it."""
    output_tokens_per_minute: Count | None = None
    """The provider's limit on answer tokens, if you know it."""
    politeness_policy: NonNegative = 0.0
    """Seconds a worker rests between requests. Prefer `requests_per_minute`."""
    batch_completion_window: str | None = "24h"
    """How soon a batch job must be done."""
    use_adaptive_concurrency: bool = True
    """Follow the error rate with the number of requests in flight, up to `num_workers`."""

    @model_validator(mode="after")
    def _backoff_has_room(self) -> RemoteParams:
        if self.retry_backoff_max < self.retry_backoff_base:
            low, high = self.retry_backoff_base, self.retry_backoff_max
            raise ValueError(f"retry_backoff_max ({high}) must not be less than retry_backoff_base ({low})")
        return self


class AdaptiveConcurrencyParams(Params):
    """How the number of requests in flight follows the error rate."""

    min_concurrency: Count = 5
    max_concurrency: Count = 100
    initial_concurrency_factor: Fraction = 0.5
    """Where to start, between the two bounds: 0 at the lower, 1 at the upper."""
    concurrency_step: Count = 5
    """How much is added at a time."""
    min_update_time: Positive = 60.0
    """Seconds between changes, at least."""
    error_threshold: Fraction = 0.01
    """Share of failed requests above which concurrency is cut."""
    backoff_factor: Positive = 0.8
    """What a cut multiplies concurrency by."""
    recovery_threshold: Fraction = 0.005
    """Share of failed requests at or below which it may grow again."""
    min_window_size: Count = 10
    """Requests to have seen before the share counts."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> AdaptiveConcurrencyParams:
        if self.max_concurrency < self.min_concurrency:
            raise ValueError("max_concurrency must not be less than min_concurrency")
        if self.recovery_threshold >= self.error_threshold:
            raise ValueError("recovery_threshold must be less than error_threshold")
        return self
