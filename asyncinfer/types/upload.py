"""The body of a request that is streamed from a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileBody(NamedTuple):
    """The body of a request: the content of a file, with bytes before and after it.

    Args:
        size: The bytes of the whole body.
    """

    path: Path
    size: int
    before: bytes = b""
    after: bytes = b""
