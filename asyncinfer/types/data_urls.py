"""The beginning of data URLs, such as `data:image/png;base64,`."""

from __future__ import annotations

import re
from typing import NamedTuple

# No real data URL has a longer beginning. The bound keeps the search short.
_BEGINNING = re.compile(r"data:([\w.+-]*/[\w.+-]*)?([^,]{0,200}),", re.IGNORECASE)


class DataUrl(NamedTuple):
    """A data URL.

    Args:
        media_type: Its media type; empty if it has none.
        is_base64: Whether its data is base64. Otherwise, it is text.
        data: Its data, unchanged.
    """

    media_type: str
    is_base64: bool
    data: str


def data_url(text: str) -> DataUrl | None:
    """Return the parts of a data URL; None if the text is something else."""
    beginning = _BEGINNING.match(text)
    if beginning is None:
        return None
    options = beginning[2].lower().split(";")
    return DataUrl(beginning[1] or "", "base64" in options, text[beginning.end() :])
