"""The limits of templates that are checked in more than one place."""

from __future__ import annotations

from asyncinfer.errors import InputError

LONGEST = 1 << 24
"""The most characters of a text."""
MOST_BITS = 1 << 16
"""The most bits of a whole number."""


class TemplateLimitError(InputError):
    """A template does too much for a row, or makes a text or a value that is too large.

    Finding this out may take about a second.
    """
