"""YAML that would take too much time or memory is refused, with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceConfig
from asyncinfer.config import yaml
from asyncinfer.config.yaml import load


def nested_lists(levels: int, width: int = 10) -> str:
    """Each level repeats the one before it."""
    lines = ["a0: &a0 [" + ", ".join("x" * width) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * width) + "]" for i in range(1, levels)]
    return "\n".join(lines)


def nested_merges(levels: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [nested_lists(9), nested_merges(40)], ids=["lists", "merges"])
def test_aliases_that_repeat_too_much_are_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"config, line \d+, column \d+: not valid YAML: aliases repeat more than 100,000"
    ):
        InferenceConfig.from_str(text)


def test_aliases_that_repeat_little_are_read() -> None:
    text = "generation:\n  extra_body:\n    a: &a [1, 2]\n    b: [*a, *a]\n"
    assert InferenceConfig.from_str(text).generation.extra_body == {"a": [1, 2], "b": [[1, 2], [1, 2]]}
    assert len(load(nested_lists(4), "it")["a3"]) == 10


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a [[[*a]]]"])
def test_recursive_aliases_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="config, line 1, column 4: not valid YAML"):
        InferenceConfig.from_str(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 5000 + "x", "\n".join(" " * i + "a:" for i in range(2000))]
)
def test_too_many_levels_are_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"config, line \d+, column \d+: not valid YAML: it is nested more than 100 levels"
    ):
        InferenceConfig.from_str(text)


def test_long_texts_of_digits_are_read_in_linear_time() -> None:
    """A regular expression with backtracking would need minutes for this text."""
    assert load("1" * 500_000 + "x", "it") == "1" * 500_000 + "x"


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!timestamp x", "a: !!int x", "a: !!float x", f"a: {'1' * 5000}"])
def test_values_that_do_not_fit_their_tag_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"config: not valid YAML: (Value|Key|Attribute)Error"):
        InferenceConfig.from_str(text)


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "_MAX_BYTES", 2**20)
    (tmp_path / "a.yaml").write_text("# " + "x" * 2**20)
    with pytest.raises(ConfigError, match=r"a\.yaml: the configuration is larger than 1 MiB"):
        InferenceConfig.from_yaml(tmp_path / "a.yaml")
