"""Decides whether an error concerns one row or the account, by the codes, messages and statuses of `error_tables`.

Codes and messages take precedence over the status. Billing errors and errors about a prompt take precedence over other
codes, because some providers use one code for several errors (xAI's `permission-denied`, Anthropic's
`invalid_request_error`). The scope is UNKNOWN if no table contains the error. It is also UNKNOWN if the error only
says that the request is invalid: the reason may be a setting, which all rows share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from asyncinfer.dialects import error_tables as tables
from asyncinfer.dialects.error_body import ErrorBody
from asyncinfer.errors import ErrorScope

ROW, ACCOUNT, UNKNOWN = ErrorScope.ROW, ErrorScope.ACCOUNT, ErrorScope.UNKNOWN

# The tokens of the answer that was requested, and of the model's context, in a message.
_COMPLETION = re.compile(r"(\d+)(?: tokens)? (?:in|for) the completion")
_CONTEXT = re.compile(r"context (?:length|window)\D{0,20}(\d+)")


def scope_of(status: int | None, error: ErrorBody) -> ErrorScope:
    """Return which rows a final error concerns. (Retryable errors have the scope UNKNOWN.)

    Args:
        status: The status of the response, or the status named by an error within a successful response; None if
            neither is known.
    """
    if error.codes & tables.STATE_CODES or tables.STATE_TEXTS.search(error.text) or is_billing_error(error):
        return ACCOUNT
    if _is_row_error(error):
        return ROW
    if error.is_html and status == 403:  # A firewall, which may have blocked the prompt or the client.
        return UNKNOWN
    if error.codes & tables.ACCOUNT_CODES or tables.ACCOUNT_TEXTS.search(error.text):
        return ACCOUNT
    if status is None:
        return UNKNOWN
    if status == 404:
        return ACCOUNT if not error.is_json or tables.NO_SUCH_PATH.fullmatch(error.text) else UNKNOWN
    return ACCOUNT if 300 <= status < 400 else tables.STATUSES.get(status, UNKNOWN)


def is_missing_path(status: int, error: ErrorBody) -> bool:
    """Whether the server has no API at the URL of the request."""
    if status != 404:
        return status == 405
    if not error.is_json or tables.PATH_TEXTS.search(error.text):
        return True
    return tables.NO_SUCH_PATH.fullmatch(error.text) is not None and "model" not in error.text


def _is_row_error(error: ErrorBody) -> bool:
    """Whether the error says that the content of this row is the reason.

    An error that only says "invalid request" may be about a setting, which concerns every row.
    """
    locations = tuple(_locations(error))
    if any(map(tables.MESSAGE_LOCATION.search, (error.text, *locations))):
        return True
    if tables.SETTING_TEXTS.search(error.text) or _completion_is_too_long(error.text):
        return False
    if any(map(tables.MESSAGE_FIELD.match, locations)):
        return True
    if locations and not error.codes.isdisjoint(tables.TEXT_LENGTH_CODES):
        return False  # The text that is too long is not in the messages.
    return not error.codes.isdisjoint(tables.ROW_CODES) or tables.ROW_TEXTS.search(error.text) is not None


def _locations(error: ErrorBody) -> Iterator[str]:
    """Yield the locations in the request that the error names."""
    for name, value in error.fields:
        if name in tables.LOCATION_FIELDS and isinstance(value, str):
            yield value
        elif name in tables.LOCATION_FIELDS and isinstance(value, list):
            yield ".".join(str(part) for part in cast(list[Any], value)[:8])


def _completion_is_too_long(text: str) -> bool:
    """Whether the requested answer alone has more tokens than the context, so that no prompt would fit."""
    completion, context = _COMPLETION.search(text), _CONTEXT.search(text)
    return (
        completion is not None
        and context is not None
        and len(completion[1]) < 20
        and int(completion[1]) >= int(context[1][:20])
    )


def is_billing_error(error: ErrorBody) -> bool:
    """Whether the account has no credit left, or has reached its spending limit. Waiting does not help."""
    if error.codes & tables.BILLING_CODES:
        return True
    return (
        any(hint in error.text for hint in tables.BILLING_HINTS) and tables.BILLING_TEXTS.search(error.text) is not None
    )
