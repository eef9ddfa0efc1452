"""The history of chats is in a file that only its owner can read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from asyncinfer.cli.history import HistoryFile, history_path


def test_texts_come_back_in_order_with_their_line_breaks(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "new" / "history")
    for text in ("a", "b\nc", "é\ud800"):
        file.append(text)
    assert file.load() == ["a", "b\nc", "é\ud800"]


def test_file_and_folder_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history"
    HistoryFile(path).append("a")
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)


def test_history_of_2000_messages_is_shortened_to_1000(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text("".join(f'"{n}"\n' for n in range(2000)))
    assert HistoryFile(path).load() == [str(n) for n in range(1000, 2000)]
    assert len(path.read_text().splitlines()) == 1000


def test_file_that_others_can_read_becomes_private(tmp_path: Path) -> None:
    for write in (lambda file: file.append("a"), HistoryFile.load):
        path = tmp_path / "history"
        path.write_text('"a"\n' * 2000)
        path.chmod(0o644)
        write(HistoryFile(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_keeps_its_texts_if_it_cannot_be_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history"
    path.write_text("".join(f'"{n}"\n' for n in range(2000)))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("asyncinfer.scratch.disk.replace", fail)
    assert len(HistoryFile(path).load()) == 1000
    assert path.read_bytes() == before


def test_link_to_a_device_is_no_error_and_changes_no_permissions(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.symlink_to("/dev/null")
    before = Path("/dev/null").stat().st_mode
    HistoryFile(path).append("a")
    assert Path("/dev/null").stat().st_mode == before


def test_damaged_lines_of_the_history_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b'"a"\n{\n3\n\xff\n"b"\n"c')
    assert HistoryFile(path).load() == ["a", "b"]


@pytest.mark.parametrize("kind", ["folder", "missing", "below a file"])
def test_file_that_cannot_be_used_is_no_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "history"
    if kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path.touch()
        path = path / "history"
    file = HistoryFile(path)
    assert file.load() == []
    file.append("a")


@pytest.mark.parametrize(("variable", "folder"), [("", "~/.local/state"), ("relative", "~/.local/state"), ("/x", "/x")])
def test_path_follows_the_base_directory_specification(variable: str, folder: str) -> None:
    expected = Path(folder).expanduser() / "asyncinfer" / "chat_history.jsonl"
    assert history_path({"XDG_STATE_HOME": variable}) == expected
