"""Errors of engines that are also exceptions of LangChain, so that its retries and fallbacks recognise them.

Source: `langchain_core.exceptions` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from asyncinfer.engines.context_length import is_context_overflow
from asyncinfer.errors import EngineDeadError, InferenceErrorType, RequestError

E = TypeVar("E", RequestError, EngineDeadError)
_OF_STATUS: dict[int, type[ModelError]] = {
    400: ModelInvalidRequestError,
    401: ModelAuthenticationError,
    403: ModelPermissionDeniedError,
    404: ModelNotFoundError,
    422: ModelInvalidRequestError,
    429: ModelRateLimitError,
}
_OF_TYPE: dict[InferenceErrorType, type[ModelError]] = {
    InferenceErrorType.CONNECTION: ModelConnectionError,
    InferenceErrorType.TIMEOUT: ModelTimeoutError,
    InferenceErrorType.CONFIG: ModelInvalidRequestError,
}


@contextmanager
def mapped_errors() -> Generator[None]:
    """Raise the errors of an engine as errors that are also exceptions of LangChain.

    Raises:
        RequestError: There was no answer. The error is also a `ModelError`, such as `ModelRateLimitError`.
        EngineDeadError: The same, if no other call can be answered either.
    """
    try:
        yield
    except (RequestError, EngineDeadError) as error:
        raise _as_both(error).with_traceback(error.__traceback__) from error.__cause__


def _as_both(error: RequestError | EngineDeadError) -> RequestError | EngineDeadError:
    kind = _both_classes(type(error), _category(error))
    both = kind.__new__(kind)
    both.args = error.args
    both.__dict__.update(error.__dict__)
    return both


@cache
def _both_classes(engine_error: type[E], category: type[ModelError]) -> type[E]:
    """Return a subclass of an engine's error and of a category of LangChain, with the category's name."""
    namespace = {"__doc__": category.__doc__, "__module__": __name__}
    both: Any = type(category.__name__, (category, engine_error), namespace)
    return both


def _category(error: RequestError | EngineDeadError) -> type[ModelError]:
    status = error.status_code
    if is_context_overflow(error):
        return ContextOverflowError
    if status is None:
        return _OF_TYPE.get(error.error_type, ModelError)
    return _OF_STATUS.get(status, ModelAPIError if status >= 500 else ModelError)
