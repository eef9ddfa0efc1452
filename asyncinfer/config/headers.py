"""HTTP headers that the user adds to requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, SecretStr

# RFC 9110, 5.6.2: the characters of a header name.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110, 5.5: a value has no control characters except tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# The transport sets these, because they describe the connection or the size of the body.
_RESERVED = frozenset(
    [
        *("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding"),
        "upgrade",
    ]
)


def _headers(value: Any) -> Any:
    """`value` as a mapping of names to secret texts; null is an empty one.

    Raises:
        ValueError: A header cannot be sent. The message shows no value, and only names that are valid.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("should be a mapping of header names to values")
    given = cast(Mapping[Any, Any], value)
    if problems := [*_problems(given)]:
        raise ValueError("; ".join(problems))
    return {name: SecretStr(_text(text).strip()) for name, text in given.items()}


def _problems(headers: Mapping[Any, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield "a header name may contain only letters, digits and !#$%&'*+-.^_`|~"
        elif name.lower() in _RESERVED:
            yield f"the header {name} is set for each request and cannot be changed"
        elif name.lower() in seen:
            yield f"the header {name} occurs twice; the case of the letters makes no difference"
        elif why := _problem(value):
            yield f"the value of {name} {why}"
        if isinstance(name, str):
            seen.add(name.lower())


def _problem(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | SecretStr | int | float):
        return f"should be text (found a {type(value).__name__})"
    text = _text(value).strip()
    if _CONTROL.search(text):
        return "contains a line break or another control character"
    return "contains half of a surrogate pair" if _SURROGATE.search(text) else None


def _text(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


# Spaces and line ends around a value are removed, as they are not part of a header.
Headers = Annotated[dict[str, SecretStr], BeforeValidator(_headers)]
