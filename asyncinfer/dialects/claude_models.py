"""What Claude models take, as far as their names tell.

Sampling: Anthropic's migration guides for Claude Opus 4.7, Sonnet 5 and Haiku 5.5 (all three reject `temperature`
and `top_p`); its API's answer "`temperature` and `top_p` cannot both be specified for this model", given since Opus
4.1. Thinking: "Extended thinking", feature compatibility. Schemas: "Structured outputs", supported models. November
2026.
"""

from __future__ import annotations

import re

# Both orders: claude-3-5-sonnet-20241022, claude-opus-4-1; and Bedrock's claude-v2:1. A date is no minor version.
_NAME = re.compile(r"claude-(?:[a-z]+-)?v?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (99, 0)
_SCHEMAS_SINCE, _ONE_OF_BOTH_SINCE, _NO_SAMPLING_SINCE = (4, 5), (4, 1), (4, 7)
_LEAST_TOP_P_WITH_THINKING = 0.95


def takes_schemas(name: str) -> bool:
    """Whether the model can hold its answer to a JSON schema; one that is no Claude is believed to."""
    version = _version(name)
    return version is None or version >= _SCHEMAS_SINCE


def sampling(name: str, temperature: float, top_p: float | None, *, thinks: bool, keep: str) -> dict[str, float]:
    """What the model takes of the two. Of those that take one or the other, `keep` names the one to tell."""
    taken = {"temperature": temperature} if top_p is None else {"temperature": temperature, "top_p": top_p}
    version = _version(name)
    if version is not None and version >= _NO_SAMPLING_SINCE:
        return {}
    if thinks:
        least = {"temperature": 1.0, "top_p": _LEAST_TOP_P_WITH_THINKING}
        taken = {field: value for field, value in taken.items() if value >= least[field]}
    if len(taken) > 1 and version is not None and version >= _ONE_OF_BOTH_SINCE:
        taken = {keep: taken[keep]}
    return taken


def _version(name: str) -> tuple[int, int] | None:
    """The version in the name; of a Claude whose name has none, the newest; None where it is no Claude."""
    if "claude" not in name:
        return None
    found = _NAME.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST
