"""Finds out whether file descriptors are scarce."""

from __future__ import annotations

import errno
import os

_USED_UP = frozenset({errno.EMFILE, errno.ENFILE})


def are_scarce(count: int = 16) -> bool:
    """Whether fewer than `count` file descriptors are free."""
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.dup(2))
    except OSError as error:
        return error.errno in _USED_UP
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False
