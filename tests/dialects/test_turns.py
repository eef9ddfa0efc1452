"""Messages become turns in which user and assistant alternate, without blank texts."""

from __future__ import annotations

import pytest

from asyncinfer.dialects.turns import Turn, merged_turns, without_trailing_space

POINT = {"cachePoint": {"type": "default"}}


def turns(*spoken: str) -> list[Turn]:
    """Turns such as `user:Hello`."""
    return [Turn(role, [{"text": text}]) for role, _, text in (one.partition(":") for one in spoken)]


def shown(merged: list[Turn]) -> list[str]:
    return [f"{turn.role}:{'+'.join(block.get('text', '*') for block in turn.blocks)}" for turn in merged]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["user:a", "user:b", "assistant:c", "assistant:d"], ["user:a+b", "assistant:c+d"]),
        (["user:a", "assistant: ", "user:b"], ["user:a+b"]),
        (["assistant:\n", "user:a"], ["user:a"]),
        (["user:a", "assistant:"], ["user:a"]),
        (["user:", "user:a", "user: "], ["user:a"]),
        (["user:a", "assistant:b", "user:", "assistant:c", "user:d"], ["user:a", "assistant:b+c", "user:d"]),
        (["user: ", "assistant:b", "user:c"], ["user: ", "assistant:b", "user:c"]),
        (["user:a", "assistant:b", "user: "], ["user:a", "assistant:b", "user: "]),
        (["user:a", "assistant:b", "tool:c", "user: "], ["user:a", "assistant:b", "tool:c"]),
        (["user: "], ["user: "]),
        (["user:", "assistant:"], ["user:"]),
        ([], []),
    ],
)
def test_turns_alternate_and_are_not_blank(given: list[str], made: list[str]) -> None:
    assert shown(merged_turns(turns(*given))) == made


def test_signed_blank_text_is_kept() -> None:
    signed = Turn("model", [{"text": "", "thoughtSignature": "c2ln"}])
    assert merged_turns([signed]) == [signed]


def test_mark_for_the_cache_alone_is_not_content() -> None:
    given = [*turns("user:a"), Turn("assistant", [{"text": " "}, POINT]), *turns("user:b")]
    assert shown(merged_turns(given)) == ["user:a+b"]
    assert merged_turns([Turn("user", [{"text": "a"}, POINT, {"text": " "}])]) == [Turn("user", [{"text": "a"}, POINT])]


def test_white_space_at_the_end_of_an_answer_to_continue_is_left_out() -> None:
    given = turns("user:a ", "assistant:{ \n")
    assert shown(without_trailing_space(given)) == ["user:a ", "assistant:{"]
    assert shown(without_trailing_space(turns("assistant:a ", "user:b "))) == ["assistant:a ", "user:b "]
