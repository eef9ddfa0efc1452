"""Regular expressions as llama.cpp grammars."""

from __future__ import annotations

import pytest

from asyncinfer.engines.regex_grammar import from_regex
from asyncinfer.errors import RequestError


@pytest.mark.parametrize(
    ("pattern", "grammar"),
    [
        ("a+", '("a")+'),
        (r"\d{3}-\d{2,}", '([0-9]){3,3} "-" ([0-9]){2,}'),
        ("(cat|dog)s?", '(("c" "a" "t" | "d" "o" "g")) ("s"){0,1}'),
        ("^[A-Z][^a-z]*$", "[A-Z] ([^a-z])*"),
        (r"[\]\-^\\]", r"[\x5D\x2D\x5E\x5C]"),
        ('"\n', r'"\x22" "\x0A"'),
        ("(?:a|)b", '("a" | "") "b"'),
        ("(?P<city>é😀).", '("é" "😀") [^\\n]'),
        ("", '""'),
    ],
)
def test_what_a_grammar_can_say(pattern: str, grammar: str) -> None:
    assert from_regex(pattern) == f"root ::= {grammar}"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "not a regular expression"),
        (r"(a)\1", "groupref"),
        ("(?=a)b", "assert"),
        (r"a\bb", "boundaries"),
        ("a$b", "boundaries"),
        ("(?i)a", "flags"),
        ("(?i:a)", "subpattern"),
        ("(a{100}){100}", "more than 2000"),
        ("(a?){100}", "may be empty"),
        ("\0", "U[+]0000"),
        ("\ud800", "U[+]D800"),
    ],
)
def test_what_none_can_say_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        from_regex(pattern)
