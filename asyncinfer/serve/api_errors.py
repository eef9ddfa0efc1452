"""Errors in the format of OpenAI's API: the status, the headers and the body.

Source of the statuses and of the body: OpenAI's API reference ("Error codes"), and `ErrorObject` and `_exceptions` of
openai-python 3.57, November 2026. OpenAI lists no values of the field `type`. Those for 401, 403, 404, 429, 503 and 504
are our own; clients decide by the status and by `code`.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus

from pydantic_core import to_json

from asyncinfer.engines.context_length import is_context_overflow
from asyncinfer.errors import (
    AsyncInferError,
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    InputError,
    RequestError,
    error_str,
)
from asyncinfer.serve.asgi import Headers
from asyncinfer.serve.client_message import client_message

# Statuses of a provider that concern the account of the server, not the account of the client.
_OF_ACCOUNT = frozenset({401, 402, 403, 407})
# What a client is asked to wait when nothing better is known (seconds).
_WAIT = 1.0
_STATUS_OF_ERROR_TYPE = {
    InferenceErrorType.CONFIG: HTTPStatus.BAD_REQUEST,
    InferenceErrorType.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    InferenceErrorType.CONNECTION: HTTPStatus.BAD_GATEWAY,
    InferenceErrorType.PARSE_ERROR: HTTPStatus.BAD_GATEWAY,
    InferenceErrorType.ENGINE_FAILURE: HTTPStatus.SERVICE_UNAVAILABLE,
}
# A part of the message of an engine whose URL is probably wrong.
_WRONG_URL = "(remote_params.api_url)"
# The beginning of a message by which clients such as LiteLLM 1.110 recognise this error, whatever its code.
_TOO_LONG = "prompt is too long"
_FAILED = "The server failed to answer; see the server's log."
_NO_CONNECTION = "The connection to the server's provider failed; see the server's log."
_NOT_VALID = "The request does not fit the settings of the server; see the server's log."
# A parameter in a message, with the path of a part of it, and the fields of chat completions that have other names.
_PARAMETER = re.compile(r"\bgeneration\.([a-z_]+)(?:\.[a-z_]+)*")
_FIELD_NAMES = {"guided_decoding": "response_format", "max_new_tokens": "max_tokens", "stop_strings": "stop"}
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
        status: The status of the response.
        message: What is wrong, and what the client can do.
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
    def type(self) -> str:
        """The value of `type` in the body."""
        default = "invalid_request_error" if self.status < 500 else "server_error"
        return _TYPE_OF_STATUS.get(self.status, default)

    def body(self) -> bytes:
        """The body of the response. In a stream, it is the data of the last event."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
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

    It contains no URLs, settings or paths of the server. It does not contain the text of an unexpected exception, which
    may contain secrets.
    """
    match error:
        case ApiError():
            return error
        case RequestError():
            return _of_request(error)
        case EngineDeadError(status_code=HTTPStatus.NOT_FOUND) if _WRONG_URL not in error_str(error):
            message = "The server's provider does not have this model."
            return ApiError(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")
        case EngineConfigError():
            return _unavailable("The server's model or provider is not set up correctly; see the server's log.")
        case EngineDeadError():
            return _unavailable("The server's model or provider is not available; see the server's log.")
        case ConfigError() | InputError():
            return bad_request(client_message(_with_field_names(error), _NOT_VALID))
        case _:
            return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, _FAILED)


def is_for_operator(error: AsyncInferError, client_error: ApiError) -> bool:
    """Whether the operator of the server should see an error: the server failed, or the client receives less of it.

    Args:
        client_error: What the client receives.
    """
    is_failure = client_error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return is_failure or client_error.message != _with_field_names(error)


def _of_request(error: RequestError) -> ApiError:
    if is_context_overflow(error):
        return _too_long(error)
    message, status = client_message(_with_field_names(error), _FAILED), error.status_code
    if error.is_overload or status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = error.retry_after if error.retry_after is not None else _WAIT
        return ApiError(HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded", retry_after=wait)
    if status is None or not 400 <= status < 600:
        known = _STATUS_OF_ERROR_TYPE.get(error.error_type, HTTPStatus.INTERNAL_SERVER_ERROR)
        is_connection = error.error_type is InferenceErrorType.CONNECTION
        return ApiError(known, _NO_CONNECTION if is_connection else message)
    if status in _OF_ACCOUNT:
        # A client would take this status for a problem of its own key.
        return ApiError(HTTPStatus.BAD_GATEWAY, "The server's provider refused the server's own key or account.")
    return ApiError(status, message, retry_after=error.retry_after)


def _too_long(error: RequestError) -> ApiError:
    message = client_message(error_str(error), "")
    if _TOO_LONG not in message.lower():
        message = f"The {_TOO_LONG} for the model. {message[:1].upper()}{message[1:]}".rstrip()
    return bad_request(message, code="context_length_exceeded")


def _with_field_names(error: Exception) -> str:
    """Return the message of an error, in which parameters have the names of fields of a request."""
    return _PARAMETER.sub(lambda found: _FIELD_NAMES.get(found[1], found[1]), error_str(error))


def _unavailable(message: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=_WAIT)
