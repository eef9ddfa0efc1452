"""JSON in which something stands where it should not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "1", [], [1], ["a"], [{}], {}, {"a": 1}])


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
