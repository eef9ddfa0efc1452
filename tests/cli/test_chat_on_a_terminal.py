"""`asyncinfer infer -i` on a terminal: line editing, history, Markdown and usage."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

from tests.cli.terminal import ALT_ENTER, CTRL_C, CTRL_D, UP, Terminal, pasted

CHAT = ("infer", "-i", "--engine", "REMOTE", "--model.model_name", "m")


def chat(home: Path, *args: str, columns: int = 80, **script: object) -> Terminal:
    return Terminal(*CHAT, *args, columns=columns, HOME=str(home), XDG_STATE_HOME="", SCRIPT=json.dumps(script))


def test_messages_are_answered_until_ctrl_d(home: Path) -> None:
    log = home / "log"
    with chat(home, log=str(log)) as terminal:
        terminal.wait_for("Ctrl-C stops an answer")
        terminal.wait_for_prompt()
        terminal.type("hello\r")
        terminal.wait_for("answer to hello")
        terminal.wait_for("(3 tokens in, 4 tokens out")
        terminal.wait_for_prompt()
        terminal.type("first" + ALT_ENTER + "second\r")
        terminal.wait_for("answer to first")
        terminal.wait_for_prompt()
        terminal.type(pasted("a\nb") + "\r")
        terminal.wait_for("answer to a")
        terminal.wait_for_prompt()
        terminal.type(5 * UP + "!\r")  # also moves up within a message of two lines
        terminal.wait_for("answer to hello!")
        terminal.wait_for_prompt()
        terminal.type("/exit\r")
        assert terminal.ends() == 0
    assert log.read_text().splitlines() == ["hello", "first", "second", "a", "b", "hello!"]
    history = home / ".local/state/asyncinfer/chat_history.jsonl"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    assert list(map(json.loads, history.read_text().splitlines())) == ["hello", "first\nsecond", "a\nb", "hello!"]


def test_nothing_is_saved_without_history(home: Path) -> None:
    with chat(home, "--no-history") as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\r")
        terminal.wait_for("answer to hello")
        terminal.wait_for_prompt()
        terminal.type(CTRL_D)
        assert terminal.ends() == 0
    assert not (home / ".local/state/asyncinfer").exists()


def test_ctrl_c_discards_a_line_and_stops_an_answer(home: Path) -> None:
    log = home / "log"
    with chat(home, log=str(log), slow="slow") as terminal:
        terminal.wait_for_prompt()
        terminal.type("wrong" + CTRL_C)
        terminal.wait_for_prompt()
        terminal.type("slow\r")
        while not log.exists():
            time.sleep(0.01)
        terminal.type(CTRL_C)
        terminal.wait_for_prompt()
        terminal.type("quick\r")
        terminal.wait_for("answer to quick")
        terminal.wait_for_prompt()
        terminal.type(CTRL_D)
        assert terminal.ends() == 0
    assert log.read_text().splitlines() == ["slow", "quick"]


def test_answer_is_rendered_and_long_lines_fit_a_narrow_terminal(home: Path) -> None:
    with chat(home, columns=30, text="# Title\n\n- **bold** item\n\n" + "word " * 30) as terminal:
        terminal.wait_for_prompt()
        terminal.type("hello\r")
        shown = terminal.wait_for("tokens in")
        assert "**" not in shown
        assert "• bold item" in shown
        assert max(len(line) for line in shown.splitlines() if line.startswith("word")) <= 30


def test_terminal_without_control_sequences_gets_plain_text(home: Path) -> None:
    with Terminal(
        "ask", "-m", "m", "--api-url", "http://h", "hi", HOME=str(home), TERM="dumb", SCRIPT='{"text": "**a**"}'
    ) as terminal:
        assert terminal.ends() == 0
        assert terminal.shown == "**a**\r\n"
