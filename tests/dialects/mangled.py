"""Makes mangled answers, and checks how they are read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from asyncinfer import FinishReason, InferenceErrorType, RequestError, StreamDelta
from asyncinfer.types.answer import Completion

ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "1", [], [1], ["a"], [{}], {}, {"a": 1}])


# JSON values that no correct server sends, as text.
_HOSTILE = (
    *("1" * 309, "1" * 4300, "1" * 4301, "-" + "9" * 400, "1e999", "-1e999", "NaN", "1e308", "12.0", "1.5", "-0"),
    *('"\\ud83d"', '"\\udc00x"', '"\\u0000"', '"x' + "y" * 5000 + '"', '"12"', '""', '"null"', '"\u2028"'),
    *("[" * depth + "]" * depth for depth in (90, 150, 190, 250, 5000)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (90, 150, 190, 250)),
    *('{"a": 1, "a": 2}', "tru", ""),
)
_MARK = "@mutated@"


def check_that_it_is_retryable(read: Callable[[Any], object], body: Any, why: str = "the response") -> None:
    """Check that `read` raises a retryable error for a success with this body, with a message that matches `why`."""
    with pytest.raises(RequestError, match=why) as caught:
        read(body)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.PARSE_ERROR, True)


def joined_pieces(deltas: Iterable[StreamDelta]) -> list[tuple[str, str, str]]:
    """The id, the name and the arguments of each call that the pieces in the deltas of a stream make.

    Checks that only the first piece of a call has its id and its name.
    """
    calls: dict[int, tuple[str, str, str]] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_call_deltas):
        if piece.index in calls:
            assert (piece.id, piece.name) == ("", "")
            assert piece.arguments
            id, name, arguments = calls[piece.index]
            calls[piece.index] = (id, name, arguments + piece.arguments)
        else:
            assert piece.id
            assert piece.name
            calls[piece.index] = (piece.id, piece.name, piece.arguments)
    assert sorted(calls) == list(range(len(calls)))
    return [calls[index] for index in sorted(calls)]


def complete_calls(last: StreamDelta) -> list[tuple[str, str, str]]:
    """The id, the name and the arguments of each complete call in the last delta of a stream."""
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in last.tool_calls]


@st.composite
def mangled(draw: st.DrawFn, bodies: st.SearchStrategy[Any]) -> Any:
    """One of `bodies` with one or two values replaced, at any depth."""
    body = copy.deepcopy(draw(bodies))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(list(_places(body))))
        holder[key] = copy.deepcopy(draw(ODD))
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of each value within `value`."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


@st.composite
def mangled_text(draw: st.DrawFn, bodies: st.SearchStrategy[Any]) -> bytes:
    """One of `bodies` as JSON, with up to three changes.

    Values are replaced, also by hostile ones; fields are removed, added or repeated; bytes are changed, inserted or cut
    off.
    """
    body = copy.deepcopy(draw(bodies))
    hostile: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(list(_places(body)) or [(body, "new")]))
        match draw(st.sampled_from(["odd", "hostile", "remove", "add", "repeat"])):
            case "odd":
                holder[key] = copy.deepcopy(draw(ODD))
            case "hostile":
                holder[key] = _MARK
                hostile.append(draw(st.sampled_from(_HOSTILE)))
            case "remove":
                holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[-1]))
            case _:
                if isinstance(holder, dict):
                    name = draw(st.sampled_from(["new", "error", "index", "extra_content", "signature"]))
                    holder[name] = copy.deepcopy(draw(ODD))
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    for value in hostile:
        text = text.replace(f'"{_MARK}"', value, 1)
    return _with_other_bytes(draw, text.encode())


def _with_other_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    if not data or draw(st.integers(0, 4)):
        return data
    at = draw(st.integers(0, len(data) - 1))
    piece = draw(st.sampled_from([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x00", b"}", b'"', b"\xef\xbb\xbf", b""]))
    return data[:at] + piece + (b"" if draw(st.booleans()) else data[at + draw(st.integers(0, 1)) :])


@st.composite
def repackaged(draw: st.DrawFn, body: Any) -> bytes:
    """A whole answer as JSON, with changes that do not change its meaning.

    Fields are added and come in another order, and there are bytes before and after the JSON.
    """
    text = json.dumps(draw(_with_unknown_fields(body)), ensure_ascii=draw(st.booleans()), indent=draw(_INDENTS))
    before, after = draw(st.sampled_from(_BEFORE)), draw(st.sampled_from(_AFTER))
    return before + text.encode() + after


_INDENTS = st.sampled_from([None, 2])
_BEFORE = [b"", b"\xef\xbb\xbf", b"\n\r\n", b"\n\xef\xbb\xbf\n"]
_AFTER = [b"", b"\n", b"\0\0", b"\n\ndata: [DONE]\n\n", b"\xff", b"{", b'{"error": 1}', b" text"]


_UNKNOWN = ("x_new", "timings", "object_type")


def without_unknown_fields(value: Any) -> Any:
    """`value` without the fields that `repackaged` adds. They are part of what is kept as it came."""
    if isinstance(value, list):
        return [without_unknown_fields(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: without_unknown_fields(inner) for name, inner in value.items() if name not in _UNKNOWN}


@st.composite
def _with_unknown_fields(draw: st.DrawFn, value: Any) -> Any:
    """`value`, whose objects have further fields, and their fields in another order. Arguments of calls stay."""
    if isinstance(value, list):
        return [draw(_with_unknown_fields(one)) for one in value]
    if not isinstance(value, dict) or not value:
        return value
    fields = [
        (name, inner if name in ("input", "args", "arguments") else draw(_with_unknown_fields(inner)))
        for name, inner in value.items()
    ]
    if draw(st.booleans()):
        fields.append((draw(st.sampled_from(_UNKNOWN)), draw(ODD)))
    return dict(draw(st.permutations(fields)))


def check_answer_or_request_error(read: Callable[[Any], Completion], body: Any) -> None:
    """Check that a decoder reads a body as an answer with known types, or refuses it with a RequestError."""
    try:
        completion = read(body)
    except RequestError:
        return
    assert isinstance(completion.finish_reason, FinishReason)
    assert completion.usage is None or all(isinstance(count, int) for count in completion.usage.to_dict().values())
