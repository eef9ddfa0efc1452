"""The errors for a response that is not a success, and for a server that is not reached."""

from __future__ import annotations

import re
import time

from asyncinfer.dialects.error_body import read_error
from asyncinfer.dialects.error_scope import is_missing_path
from asyncinfer.dialects.http import status_error
from asyncinfer.errors import RequestError
from asyncinfer.transport.base import UnreachableError
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.masking import without_credentials

# OpenAI: "This model is only supported in v1/responses and not in v1/chat/completions."
_RESPONSES_ONLY = re.compile(r"only (?:supported|available) in (?:the )?(?:v1/)?responses")


def refusal(response: HttpResponse, url: str, likely_url: str | None) -> RequestError:
    """Return the error for a response. If the server has no such path, the message names the URL, and a likely one.

    Args:
        response: A response without secrets.
        url: The URL of the request.
        likely_url: What the URL should probably be; None if it looks right.
    """
    error = status_error(response, time.time())
    if _RESPONSES_ONLY.search(read_error(response.body).text):
        error.args = (f"{str(error).rstrip('.')}. Set remote_params.api to `responses`",)
    elif _is_wrong_url(response, likely_url):
        advice = f"it should probably go to {likely_url}" if likely_url else "check the host and the port"
        error.args = (f"{error}. The request went to {without_credentials(url)}; {advice} (remote_params.api_url)",)
    return error


def with_start_hint(error: RequestError, hint: str) -> RequestError:
    """Return the error. If no connection could be opened, its message also says how to start the server.

    Args:
        hint: How to start the server; empty if users do not start it.
    """
    if hint and isinstance(error, UnreachableError):
        error.args = (f"{error}. {hint}",)
    return error


def _is_wrong_url(response: HttpResponse, likely_url: str | None) -> bool:
    if response.status not in (404, 405):
        return False
    return likely_url is not None or is_missing_path(response.status, read_error(response.body))
