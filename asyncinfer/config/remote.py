"""How a remote endpoint is reached, and how many requests it gets."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from asyncinfer.config.base import Count, Fraction, Natural, NonNegative, Params, Positive
from asyncinfer.config.endpoint import ApiKey, Endpoints, HeaderValues, Url, no_endpoints, no_headers
from asyncinfer.config.row_key import Hashed, Unhashed
from asyncinfer.types.field_types import NONE
from asyncinfer.types.masking import without_credentials


class AdaptiveConcurrencyParams(Params):
    """How the number of requests in flight follows the share of requests that fail because of overload."""

    min_concurrency: Count = 5
    """The lowest number of requests in flight. If it is not set, it is at most half of `num_workers`."""
    max_concurrency: Count = 100
    """The highest number of requests in flight, at most `num_workers`. If it is not set, the smaller of 100 and
    `num_workers`."""
    initial_concurrency_factor: Fraction = 0.5
    """Where to start between the two bounds: 0 at the lower, 1 at the upper."""
    concurrency_step: Count = 5
    """How many requests each increase adds."""
    min_update_time: Positive = 60.0
    """The shortest time between changes, in seconds. While the number grows at the start, a quarter of this time."""
    error_threshold: Fraction = 0.01
    """The share of failed requests from which the number is reduced."""
    backoff_factor: Positive = 0.8
    """A reduction multiplies the number by this factor; factors above 1 count as 1."""
    recovery_threshold: Fraction = 0.005
    """The share of failed requests up to which the number may grow again."""
    min_window_size: Count = 10
    """How many requests must have ended before the share of failed ones is used."""

    @model_validator(mode="after")
    def _check_order(self) -> AdaptiveConcurrencyParams:
        if self.max_concurrency < self.min_concurrency:
            raise ValueError("max_concurrency must not be less than min_concurrency")
        if self.recovery_threshold >= self.error_threshold:
            raise ValueError("recovery_threshold must be less than error_threshold")
        return self


class RemoteParams(Params):
    """An endpoint, its key, and its limits."""

    api_url: Hashed[Url | None] = Field(default=None, kw_only=False)
    """The endpoint; hosted engines have a default. No message, log or dump shows its credentials."""
    api_key: Unhashed[ApiKey] = NONE
    """The API key; `${VAR}` reads it from the environment. No message, log or dump shows it."""
    api_key_env_varname: Unhashed[str | None] = None
    """The environment variable that holds the key."""
    user_id: Unhashed[str | None] = None
    """An opaque id of the end user, for the provider's abuse reports."""
    max_retries: Unhashed[Natural] = 5
    """How often a row is sent again after failures that may be temporary, at all endpoints together. Failures of an
    endpoint that is down do not count."""
    retry_backoff_base: Unhashed[Positive] = 1.0
    """Seconds; the wait before the first retry. It doubles with each retry."""
    retry_backoff_max: Unhashed[Positive] = 30.0
    """Seconds; the longest backoff. A `Retry-After` from the server is waited for in full, up to `max_wait`."""
    connection_timeout: Unhashed[NonNegative] = 300.0
    """Seconds for a whole request; for a stream, until it begins. 0: no limit, but a request fails when the server
    sends nothing for an hour."""
    num_workers: Unhashed[Count] = 50
    """The most requests in flight, for each event loop and each endpoint."""
    requests_per_minute: Unhashed[Count | None] = None
    """The provider's limit on requests, if you know it."""
    input_tokens_per_minute: Unhashed[Count | None] = None
    """The provider's limit on prompt tokens, if you know it."""
    output_tokens_per_minute: Unhashed[Count | None] = None
    """The provider's limit on answer tokens, if you know it."""
    politeness_policy: Unhashed[NonNegative] = 0.0
    """Seconds for which the permit of a request rests after the request. Prefer `requests_per_minute`."""
    batch_completion_window: Unhashed[str | None] = "24h"
    """The time in which a batch job of a provider must be done. Single requests do not use it."""
    use_adaptive_concurrency: Unhashed[bool] = True
    """Adapt the number of requests in flight, up to `num_workers`, to what the endpoint accepts."""
    headers: Unhashed[HeaderValues] = Field(default_factory=no_headers)
    """HTTP headers for every request, such as those that a gateway needs: a mapping of names to values. They replace
    headers of the same name that this package sets. No message, log or dump shows the values. If a call sets `headers`,
    it sends none of the engine's."""
    max_wait: Unhashed[Positive] = 900.0
    """Seconds; the longest wait that the endpoint may request. If it requests more, the run ends and can be resumed."""
    max_outage: Unhashed[Positive] = 900.0
    """Seconds without any answer after which the run ends. It can be resumed."""
    stream_idle_timeout: Unhashed[NonNegative | None] = None
    """Seconds for which a stream may bring no part of the answer. Comments, pings and empty events do not count as
    parts. 0: no limit. null: as `connection_timeout`."""
    max_response_bytes: Unhashed[Count] = 64 * 2**20
    """The largest response, after decompression. A stream may have four times as much in all."""
    max_compression_ratio: Unhashed[Count] = 100
    """The largest ratio of decompressed to compressed size. Applies to responses above 1 MiB."""
    adaptive: Unhashed[AdaptiveConcurrencyParams | None] = None
    """How it is adapted; null: from half of `num_workers`, in steps of an eighth. Has no effect without
    `use_adaptive_concurrency`."""
    api: Hashed[Literal["chat", "responses"] | None] = None
    """The API of a server that has two: chat completions, or OpenAI's Responses API. null: as `api_url` ends; otherwise
    `responses` for models that only this API has, and `chat` for all others."""
    endpoints: Unhashed[Endpoints] = Field(default_factory=no_endpoints)
    """Several endpoints that serve the same model, in place of `api_url`: the URL of each, or a mapping of its
    settings. Rows go to the endpoint with most room; each has limits of its own. They are not part of a row's key, so
    that a row has the same key whichever answers it."""

    def hashed_values(self) -> dict[str, Any]:
        """As in the base class. The URL is without credentials: user, password and query may contain a key."""
        values = super().hashed_values()
        return values | {"api_url": _hashed_url(values["api_url"])} if "api_url" in values else values

    def concurrency_problem(self) -> str | None:
        """Why `adaptive` does not go together with `num_workers`; None if it does."""
        for name in ("max_concurrency", "min_concurrency"):
            if self.adaptive is not None and name in self.adaptive.model_fields_set:
                value: int = getattr(self.adaptive, name)
                if value > self.num_workers:
                    return f"adaptive.{name} ({value}) must not be more than num_workers ({self.num_workers})"
        return None

    @model_validator(mode="after")
    def _check_endpoints(self) -> RemoteParams:
        if self.endpoints and self.api_url is not None:
            raise ValueError("api_url and endpoints exclude each other; add the URL to endpoints")
        if self.endpoints and all(endpoint.fallback for endpoint in self.endpoints):
            raise ValueError("endpoints: at least one must not be a fallback")
        return self

    @model_validator(mode="after")
    def _check_backoff(self) -> RemoteParams:
        if self.retry_backoff_max < self.retry_backoff_base:
            low, high = self.retry_backoff_base, self.retry_backoff_max
            raise ValueError(f"retry_backoff_max ({high}) must not be less than retry_backoff_base ({low})")
        return self

    @model_validator(mode="after")
    def _check_concurrency(self) -> RemoteParams:
        if problem := self.concurrency_problem():
            raise ValueError(problem)
        return self


def _hashed_url(url: str) -> str:
    """Return the URL without credentials and query; an empty text for an invalid URL, which the engine reports."""
    try:
        urlsplit(url)
    except ValueError:
        return ""
    return without_credentials(url)
