"""Errors of engines as the exceptions that users of pydantic-ai expect.

Source: `pydantic_ai.exceptions` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UserError,
)

from asyncinfer.engines.context_length import is_context_overflow
from asyncinfer.errors import ConfigError, EngineDeadError, InferenceErrorType, InputError, RequestError

_HttpCategory = type[
    ModelRateLimitError | ModelQuotaExceededError | ModelUnavailableError | ModelServerError | ModelRequestRejectedError
]
_OF_STATUS: dict[int, _HttpCategory] = {
    400: ModelRequestRejectedError,
    401: ModelAuthenticationError,
    402: ModelQuotaExceededError,
    403: ModelAuthenticationError,
    404: ModelNotFoundError,
    422: ModelRequestRejectedError,
    429: ModelRateLimitError,
    503: ModelUnavailableError,
    529: ModelOverloadedError,
}
_OF_TYPE: dict[InferenceErrorType, type[ModelAPIError]] = {
    InferenceErrorType.CONNECTION: ModelConnectionError,
    InferenceErrorType.TIMEOUT: ModelTimeoutError,
    InferenceErrorType.CONFIG: ModelRequestRejectedError,
}


@contextmanager
def mapped_errors(model_name: str, *, in_stream: bool = False) -> Generator[None]:
    """Raise the errors of an engine as errors of pydantic-ai. The engine's error is the cause.

    Args:
        in_stream: Whether a part of the answer has arrived.

    Raises:
        ModelHTTPError: The API answered with an error status. The error is also one of the categories of
            `ModelAPIError`, such as `ModelRateLimitError`.
        ModelAPIError: There was no answer for another reason.
        UserError: A setting or a message is wrong.
    """
    try:
        yield
    except (ConfigError, InputError, RequestError, EngineDeadError) as error:
        raise _agent_error(error, model_name, in_stream) from error


def _agent_error(
    error: ConfigError | InputError | RequestError | EngineDeadError, model_name: str, in_stream: bool
) -> ModelAPIError | UserError:
    is_setting = isinstance(error, ConfigError)
    # The refusal of a key or of a model by the API is an error of both kinds.
    if isinstance(error, RequestError | EngineDeadError) and (error.status_code is not None or not is_setting):
        return _api_error(error, model_name, in_stream)
    return UserError(str(error))


def _api_error(error: RequestError | EngineDeadError, model_name: str, in_stream: bool) -> ModelAPIError:
    message = str(error)
    retry_after = error.retry_after if isinstance(error, RequestError) else None
    if error.status_code is None:
        kind = _OF_TYPE.get(error.error_type, ModelAPIError)
        kind = ModelContextWindowExceededError if is_context_overflow(error) else kind
        return kind(model_name, message, retry_after=retry_after, in_stream=in_stream)
    return ModelHTTPError.for_category(
        _category(error, error.status_code),
        status_code=error.status_code,
        model_name=model_name,
        body=message,
        retry_after=retry_after,
        in_stream=in_stream,
    )


def _category(error: RequestError | EngineDeadError, status: int) -> _HttpCategory | None:
    if isinstance(error, RequestError) and error.is_quota:
        return ModelQuotaExceededError
    if is_context_overflow(error):
        return ModelContextWindowExceededError
    return _OF_STATUS.get(status, ModelServerError if status >= 500 else None)
