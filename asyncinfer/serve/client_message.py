"""Removes from an error message what concerns only the operator of the server: URLs, addresses, settings and paths."""

from __future__ import annotations

import re

_URL = r"\b[a-z][a-z0-9+.-]*://\S+"
_ADDRESS = r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b|\[[0-9a-f:]+\]|\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b"
_SETTING = r"\b(?:remote_params|model_kwargs|model|engine)\.[a-z_]+\b|\bmodel_kwargs\b|(?<!\S)--[a-z][\w-]*"
_PATH = r"(?<![\w.])~?(?:/[\w.@+-]+){2,}|\b[A-Za-z]:\\\S+"
_HIDDEN = re.compile("|".join((_URL, _ADDRESS, _SETTING, _PATH)), re.IGNORECASE)
_IN_PARENTHESES = re.compile(r" ?\([^()]*\)")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def client_message(text: str, default: str) -> str:
    """Return a message without the parts that clients should not see.

    An addition in parentheses, or a sentence, is left out if it names a URL, an address, a setting or a path.

    Args:
        default: What is returned if nothing is left.
    """
    if not _HIDDEN.search(text):
        return text
    without = _IN_PARENTHESES.sub(lambda found: "" if _HIDDEN.search(found[0]) else found[0], text)
    kept = [part for part in _BETWEEN_SENTENCES.split(without) if not _HIDDEN.search(part)]
    return " ".join(kept) or default
