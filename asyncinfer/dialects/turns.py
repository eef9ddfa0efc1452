"""Turns of content blocks, for APIs in which user and assistant alternate and blank texts are refused.

Sources: Anthropic's Messages API ("text content blocks must contain non-whitespace text"), Bedrock's Converse ("The
text field in the ContentBlock object is blank") and Gemini ("it has an empty text parameter"), November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

Block = dict[str, Any]
# The roles of messages that the user sends. Results of tools are turns of their own for some APIs.
_OF_USER = frozenset({"user", "tool"})


class Turn(NamedTuple):
    """The content of one message, or of adjacent messages of one role."""

    role: str
    blocks: list[Block]


def merged_turns(messages: Iterable[Turn]) -> list[Turn]:
    """Return the turns without blank texts. Adjacent messages of one role become one turn.

    A message without other content is left out, and its neighbours become one turn. If it is the user's first or last
    message, the conversation would have another meaning without it. It is kept then, and the API refuses it.
    """
    given = list(messages)
    places = kept_places([turn.role for turn in given], [_has_content(turn) for turn in given])
    return [
        Turn(role, _blocks_of(group)) for role, group in groupby((given[p] for p in places), lambda turn: turn.role)
    ]


def kept_places(roles: Sequence[str], filled: Sequence[bool]) -> Iterable[int]:
    """Return the places of the messages that are sent.

    Args:
        roles: The role of each message.
        filled: Whether each message has content.
    """
    if all(filled):
        return range(len(roles))
    full = [place for place, is_filled in enumerate(filled) if is_filled]
    return [place for place in range(len(roles)) if filled[place] or _is_needed(roles, place, full)]


def without_trailing_space(turns: list[Turn]) -> list[Turn]:
    """Return the turns. White space at the end of a last answer is removed, because Claude refuses it there."""
    if not turns or turns[-1].role != "assistant" or "text" not in turns[-1].blocks[-1]:
        return turns
    *others, last = turns[-1].blocks
    return [*turns[:-1], Turn("assistant", [*others, {**last, "text": last["text"].rstrip()}])]


def is_blank_text(text: str | None) -> bool:
    """Whether a text is missing, empty, or only white space."""
    return not text or text.isspace()


def is_blank(block: Block) -> bool:
    """Whether a block is a text of white space only, without the signature of a thought."""
    text = block.get("text")
    return isinstance(text, str) and is_blank_text(text) and "thoughtSignature" not in block


def _has_content(turn: Turn) -> bool:
    """Whether a message has more than blank texts and Bedrock's marks for its cache."""
    return any(not is_blank(block) and "cachePoint" not in block for block in turn.blocks)


def _is_needed(roles: Sequence[str], place: int, full: list[int]) -> bool:
    """Whether a user's message without content must stay, because the conversation would begin or end with an answer.

    Args:
        full: The places of the messages with content.
    """
    if roles[place] not in _OF_USER:
        return False
    if not full:
        return True
    edge = full[0] if place < full[0] else full[-1]
    return not full[0] < place < full[-1] and roles[edge] not in _OF_USER


def _blocks_of(turns: Iterable[Turn]) -> list[Block]:
    """Return the blocks of a turn. Blank texts are left out if there is other content."""
    blocks = [block for turn in turns for block in turn.blocks]
    others = [block for block in blocks if not is_blank(block)]
    return others if any("cachePoint" not in block for block in others) else blocks
