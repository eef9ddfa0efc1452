"""Errors in the format of OpenAI's API: the status, the headers and the body.

Source: OpenAI's API reference ("Error codes") and `openai._exceptions` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

import math
from http import HTTPStatus

from pydantic_core import to_json

from asyncinfer.errors import (
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    InputError,
    RequestError,
    error_str,
)
from asyncinfer.serve.asgi import Headers

# Statuses of a provider that concern the account of the server, not that of the client.
_OF_ACCOUNT = frozenset({401, 402, 403, 407})
# What a client is asked to wait when nothing better is known (seconds).
_WAIT = 1.0
_STATUS_OF_KIND = {
    InferenceErrorType.CONFIG: HTTPStatus.BAD_REQUEST,
    InferenceErrorType.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    InferenceErrorType.CONNECTION: HTTPStatus.BAD_GATEWAY,
    InferenceErrorType.PARSE_ERROR: HTTPStatus.BAD_GATEWAY,
    InferenceErrorType.ENGINE_FAILURE: HTTPStatus.SERVICE_UNAVAILABLE,
}
_TYPE_OF_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """An error that a client receives.

    Args:
        param: The field of the request that is wrong.
        code: A word for programs, such as `model_not_found`.
        retry_after: When the client may try again, in seconds.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = int(status), message, param, code
        self.retry_after, self._headers = retry_after, headers or []

    @property
    def kind(self) -> str:
        """The value of `type` in the body."""
        default = "invalid_request_error" if self.status < 500 else "server_error"
        return _TYPE_OF_STATUS.get(self.status, default)

    def body(self) -> bytes:
        """The body of the response. In a stream, it is the data of the last event."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return to_json({"error": error})

    def headers(self) -> Headers:
        """The headers that this error adds to the response."""
        headers = [*self._headers]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after))))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        return headers


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error for a request that can never be answered."""
    return ApiError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


def api_error(error: BaseException) -> ApiError:
    """Return the error that a client receives for an error of an engine.

    The text of an unexpected exception is not shown, because it may contain what is not meant for clients.
    """
    match error:
        case ApiError():
            return error
        case RequestError():
            return _of_request(error)
        case EngineDeadError(status_code=HTTPStatus.NOT_FOUND):
            message = "The server's provider does not have this model."
            return ApiError(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")
        case EngineConfigError():
            return _unavailable("The server's model or provider is not set up correctly; see the server's log.")
        case EngineDeadError():
            return _unavailable("The server's model or provider is not available; see the server's log.")
        case ConfigError() | InputError():
            return bad_request(error_str(error))
        case _:
            return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed to answer; see the server's log.")


def _of_request(error: RequestError) -> ApiError:
    message, status = error_str(error), error.status_code
    if error.is_overload or status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = error.retry_after if error.retry_after is not None else _WAIT
        return ApiError(HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded", retry_after=wait)
    if status is None or not 400 <= status < 600:
        known = _STATUS_OF_KIND.get(error.error_type, HTTPStatus.INTERNAL_SERVER_ERROR)
        return ApiError(known, message)
    if status in _OF_ACCOUNT:
        # A client would take this status for a problem of its own key.
        return ApiError(HTTPStatus.BAD_GATEWAY, "The server's provider refused the server's own key or account.")
    return ApiError(status, message, retry_after=error.retry_after)


def _unavailable(message: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=_WAIT)
