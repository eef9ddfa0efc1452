"""`asyncinfer show` on a terminal: the pager."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import CTRL_C, Terminal
from tests.fakes import questions, write_jsonl


@pytest.mark.slow
def test_ctrl_c_in_the_pager_does_not_end_it(tmp_path: Path) -> None:
    output = write_jsonl(tmp_path / "out.jsonl", questions(2_000))
    with Terminal("show", str(output), PAGER="less") as terminal:
        terminal.wait_for("question 0")
        terminal.type(CTRL_C)
        terminal.type("/question 5\n")
        terminal.wait_for("question 5")
        terminal.type("q")
        assert terminal.ends() == 0
