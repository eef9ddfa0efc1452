"""Reads the body of an error response from any origin: an API, a router, FastAPI, or a proxy that sends HTML.

Shapes: OpenAI, Mistral and vLLM `{"error": {"message", "type", "param", "code"}}`, with or without the outer object;
xAI `{"code", "error"}`; Anthropic `{"type": "error", "error": {"type", "message", "details"}}`; Google `{"error":
{"code", "message", "status", "details"}}`, also in a list; AWS `{"message"}` or `{"Message", "__type"}`; FastAPI
`{"detail"}`. OpenRouter and LiteLLM put the JSON of the server behind them into their own, as text. Read in November
2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from itertools import islice
from json import JSONDecoder
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.fields import as_count
from asyncinfer.dialects.json_text import read_json

_SHOWN = 300
# The fields that hold identifiers of an error, and those that hold its message.
_CODES = frozenset(
    {"code", "type", "status", "reason", "__type", "error_code", "errorcode", "error_type", "errortype", "limit_source"}
)
_TEXTS = frozenset({"message", "msg", "detail", "description", "title", "error", "error_message", "raw"})
# Fields that repeat text of the user or the model. Such text does not describe the error.
_ECHOES = frozenset({"flagged_input", "input", "failed_generation"})
# Bounds on the parts of a body that are read. Real errors are smaller.
_MOST_NODES, _DEEPEST_TEXT, _LONGEST_JSON, _LONGEST_TEXT, _LONGEST_CODE = 2000, 3, 65536, 8192, 100
_LARGEST = 2**20  # bytes; a larger body is not parsed
# Characters that do not occur in text. A body is binary if more than this share of it are such characters. A body with
# fewer characters than the last number counts as text.
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_MOST_NO_TEXT, _LEAST_BINARY = 0.3, 8
_JSON_START = re.compile(r"[{\[]\s*[\"{\[]")
_DECODER = JSONDecoder()
_NO_FIELDS: Mapping[str, Any] = {}


class ErrorBody(NamedTuple):
    """An error that a server sent.

    Attributes:
        message: The message for the user, at most a few hundred characters.
        text: All messages in lower case, including those of the servers behind a router.
        codes: Its identifiers in lower case, with underscores for hyphens.
        status: The HTTP status in the body, which may differ from that of the response.
        fields: The fields of all objects in the body, each with its name in lower case. Includes the fields of JSON
            that a router passes on as text. Their number is bounded.
        is_json: Whether the body is JSON.
        is_html: Whether the body is a page of a web server or a proxy.
    """

    message: str = ""
    text: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None
    fields: tuple[tuple[str, Any], ...] = ()
    is_json: bool = False
    is_html: bool = False


NO_BODY = ErrorBody()


def read_error(body: bytes | str) -> ErrorBody:
    """Read the error in a body. Never raises."""
    data = _json(body)
    message = message_of(data, body)
    fields = tuple(_fields_in(data))
    codes, texts = set[str](), list[str]()
    for key, value in fields:
        if key in _ECHOES:
            codes.add(key)
        elif isinstance(value, str):
            if key in _CODES and len(value) <= _LONGEST_CODE:
                codes.add(_normal(value))
            if key in _TEXTS:
                texts.append(value)
    text = " \n".join(texts) if texts else message
    text = text[:_LONGEST_TEXT].lower()
    is_html = data is None and body[:1000].lstrip()[:1] in ("<", b"<")
    return ErrorBody(message, text, frozenset(codes), _status(data), fields, data is not None, is_html)


def message_in(body: bytes) -> str:
    """Return the message in a body, for the user."""
    return message_of(_json(body), body)


def message_of(data: Any, body: bytes | str) -> str:
    """Return the message in a body whose JSON value is `data`, for the user."""
    if isinstance(data, list) and data:
        data = cast(list[Any], data)[0]
    return _message(data) or excerpt(body) or "(no text)"


def _fields_in(data: Any) -> Iterator[tuple[str, Any]]:
    waiting, left = [(data, 0)], _MOST_NODES
    while waiting and left > 0:
        value, depth = waiting.pop()
        left -= 1
        if isinstance(value, dict):
            for key, inner in islice(cast(dict[str, Any], value).items(), left):
                left -= 1
                yield (name := key.lower()), inner
                if name not in _ECHOES:
                    waiting.append((inner, depth))
        elif isinstance(value, list):
            waiting += [(inner, depth) for inner in cast(list[Any], value)[:left]]
        elif isinstance(value, str) and depth < _DEEPEST_TEXT and (inner := _json_within(value)) is not None:
            waiting.append((inner, depth + 1))


def safe_str(value: Any) -> str:
    """Return `str(value)`; a substitute if that raises ValueError."""
    try:
        return str(value)
    except ValueError:  # An integer with thousands of digits.
        return f"({type(value).__name__})"


def excerpt(body: bytes | str) -> str:
    """Return the beginning of the text of a body, without HTML tags and with white space collapsed.

    If the body is binary, return its size instead.
    """
    start = body[: 4 * _SHOWN]
    text = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
    if len(text) >= _LEAST_BINARY and len(_NO_TEXT.findall(text)) > _MOST_NO_TEXT * len(text):
        return f"({len(body)} bytes of binary data)"
    if text.lstrip()[:1] == "<":
        text = unescape(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text))
    return " ".join(text.split())[:_SHOWN]


def _json(body: bytes | str) -> Any:
    if len(body) > _LARGEST:
        return None
    try:
        return read_json(body)
    except ValueError:
        return None


def _json_within(text: str) -> Any:
    """Return the first object or list within a text, as in `AzureException - {"error": ...}`."""
    start = _JSON_START.search(text, 0, _SHOWN)
    if start is None or len(text) > _LONGEST_JSON:
        return None
    try:
        return _DECODER.raw_decode(text, start.start())[0]
    except (ValueError, RecursionError):
        return None


def _normal(code: str) -> str:
    """Return a code in the form of the tables. AWS writes `namespace#Code:url`, xAI `permission-denied`."""
    return code.rpartition("#")[2].partition(":")[0].strip().lower().replace("-", "_")


def _status(data: Any) -> int | None:
    if isinstance(data, list) and data:
        data = cast(list[Any], data)[0]
    outer = _fields(data)
    inner = _fields(outer.get("error"))
    names = ("code", "error_code", "status", "status_code", "http_code", "raw_status_code")
    found = (number for fields in (inner, outer) for name in names if (number := _as_status(fields.get(name))))
    return next(found, None)


def _as_status(value: Any) -> int | None:
    """Read an HTTP status. FastChat appends two digits to some statuses, as in 42901."""
    number = as_count(value)
    if number is not None and 42_900 <= number < 60_000:
        number //= 100
    return number if number is not None and 400 <= number <= 599 else None


def _fields(value: Any) -> Mapping[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else _NO_FIELDS


def _message(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    fields = cast(dict[str, Any], data)
    error: Any = fields.get("error", fields)
    if isinstance(error, str):
        return _with_code(error, fields.get("code")) if error else ""
    if isinstance(error, dict):
        inner = cast(dict[str, Any], error)
        names = ("message", "detail", "msg", "Message")  # AWS sometimes writes `Message`.
        text = next((inner[name] for name in names if inner.get(name)), None) or fields.get("message")
        if text:
            return f"{_with_code(safe_str(text), _code(inner))}{_upstream_error(inner)}"
    return ""


def _with_code(text: str, code: Any) -> str:
    kind = f" ({code[:_LONGEST_CODE]})" if isinstance(code, str) and code and code not in text else ""
    return f"{text[:_SHOWN]}{kind}"


def _code(error: Mapping[str, Any]) -> Any:
    """Return the code of an error. Anthropic puts it into `details`."""
    return error.get("code") or _fields(error.get("details")).get("error_code")


def _upstream_error(error: Mapping[str, Any]) -> str:
    """Return the error of the server behind a router. OpenRouter puts it into `metadata`."""
    raw = _fields(error.get("metadata")).get("raw")
    return f": {excerpt(raw)}" if isinstance(raw, str) and raw else ""
