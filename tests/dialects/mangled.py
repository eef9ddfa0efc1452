"""Answers in which something stands where it should not, and what becomes of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from asyncinfer import InferenceErrorType, RequestError

ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "1", [], [1], ["a"], [{}], {}, {"a": 1}])


def check_that_it_is_asked_again(read: Callable[[Any], object], body: Any, why: str = "the response") -> None:
    """`read` cannot make an answer of `body`, which a server sent as a success, and tells `why`."""
    with pytest.raises(RequestError, match=why) as caught:
        read(body)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.PARSE_ERROR, True)


@st.composite
def mangled(draw: st.DrawFn, bodies: st.SearchStrategy[Any]) -> Any:
    """One of `bodies` with one or two of its values, at any depth, replaced."""
    body = copy.deepcopy(draw(bodies))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(list(_places(body))))
        holder[key] = copy.deepcopy(draw(ODD))
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where values are within `value`: in what, and under which key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)
