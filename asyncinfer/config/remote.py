"""How a remote endpoint is reached, and how hard it is pushed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, model_validator

from asyncinfer.config.base import Params

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class RemoteParams(Params):
    """An endpoint, its key, its limits."""

    api_url: str | None = None
    api_key: SecretStr | None = None
    api_key_env_varname: str | None = None
    """The environment variable that holds the key."""
    user_id: str | None = None
    max_retries: NonNegativeInt = 5
    retry_backoff_base: PositiveFloat = 1.0
    """Seconds; the n-th retry waits up to `base * 2**n`."""
    retry_backoff_max: PositiveFloat = 30.0
    connection_timeout: Seconds = 300.0
    """Seconds for a whole request."""
    num_workers: PositiveInt = 50
    """The most requests in flight at once."""
    requests_per_minute: PositiveInt | None = None
    input_tokens_per_minute: PositiveInt | None = None
    output_tokens_per_minute: PositiveInt | None = None
    politeness_policy: Seconds = 0.0
    batch_completion_window: str | None = "24h"
    use_adaptive_concurrency: bool = True

    @model_validator(mode="after")
    def _backoff_has_room(self) -> RemoteParams:
        if self.retry_backoff_max < self.retry_backoff_base:
            raise ValueError("retry_backoff_max must not be less than retry_backoff_base")
        return self


class AdaptiveConcurrencyParams(Params):
    """How the number of requests in flight follows the error rate."""

    min_concurrency: PositiveInt = 5
    max_concurrency: PositiveInt = 100
    initial_concurrency_factor: Fraction = 0.5
    concurrency_step: PositiveInt = 5
    min_update_time: PositiveFloat = 60.0
    error_threshold: Fraction = 0.01
    backoff_factor: PositiveFloat = 0.8
    recovery_threshold: Fraction = 0.005
    min_window_size: PositiveInt = 10

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> AdaptiveConcurrencyParams:
        if self.max_concurrency < self.min_concurrency:
            raise ValueError("max_concurrency must not be less than min_concurrency")
        if self.recovery_threshold >= self.error_threshold:
            raise ValueError("recovery_threshold must be less than error_threshold")
        return self
