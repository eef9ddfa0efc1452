"""The file of the cache of answers."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from asyncinfer.scratch.answer_store import AnswerStore

DAY = 24 * 3600


def key(number: int) -> bytes:
    return number.to_bytes(16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "answers.sqlite3"


@pytest.fixture
def store(path: Path) -> AnswerStore:
    return AnswerStore(path)


def test_answers_are_found_by_key_and_occurrence(store: AnswerStore) -> None:
    store.put([(key(1), 0, b"one"), (key(1), 1, b"other"), (key(2), 0, b"two")])
    assert store.get([(key(2), 0), (key(1), 1), (key(1), 0), (key(3), 0)]) == [b"two", b"other", b"one", None]
    store.close()


def test_answers_are_there_after_the_file_is_closed(store: AnswerStore, path: Path) -> None:
    store.put([(key(1), 0, b"one")])
    store.close()
    again = AnswerStore(path)
    assert again.get([(key(1), 0)]) == [b"one"]
    again.close()


def test_thousands_of_answers_are_found_at_once(store: AnswerStore) -> None:
    store.put((key(number), 0, b"%d" % number) for number in range(3_000))
    found = store.get([(key(number), 0) for number in range(3_000)])
    assert found == [b"%d" % number for number in range(3_000)]
    store.close()


def test_only_this_user_may_read_the_file(store: AnswerStore, path: Path) -> None:
    store.put([(key(1), 0, b"one")])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_answers_that_were_not_used_for_longest_are_removed_at_the_limit(path: Path) -> None:
    now = 0.0
    store = AnswerStore(path, 1 << 20, now=lambda: now)
    for number in range(10):
        now = number * 2 * DAY
        store.put([(key(number * 100 + i), 0, b"x" * 1_000) for i in range(100)])
        assert store.get([(key(0), 0)]) == [b"x" * 1_000]  # This answer is in use.
    now = 30 * DAY
    store.put([(key(10_000 + i), 0, b"x" * 1_000) for i in range(200)])
    info = store.info()
    assert info is not None
    assert info.size <= 1 << 20
    assert store.get([(key(1), 0), (key(0), 0), (key(10_199), 0)]) == [None, b"x" * 1_000, b"x" * 1_000]
    store.close()


def test_file_stays_within_its_limit_and_keeps_the_latest_answers(path: Path) -> None:
    store = AnswerStore(path, 1 << 20)
    for start in range(0, 200, 50):
        store.put([(key(start + number), 0, b"x" * 50_000) for number in range(50)])
    info = store.info()
    assert info is not None
    assert 0.7 * (1 << 20) < info.size <= 1 << 20
    assert store.get([(key(199), 0), (key(0), 0)]) == [b"x" * 50_000, None]
    store.close()
    assert path.stat().st_size < 1.3 * (1 << 20)


def test_answer_that_would_take_much_of_the_limit_is_not_kept(path: Path) -> None:
    store = AnswerStore(path, 1 << 20)
    store.put([(key(1), 0, b"one"), (key(2), 0, b"x" * 900_000), (key(3), 0, b"three")])
    assert store.get([(key(1), 0), (key(2), 0), (key(3), 0)]) == [b"one", None, b"three"]
    store.close()


def test_info_and_clear(store: AnswerStore, path: Path) -> None:
    assert store.info() is None
    assert store.clear() == 0
    assert not path.exists()
    store.put([(key(number), 0, b"x" * 10_000) for number in range(100)])
    info = store.info()
    assert info is not None
    assert info.answers == 100
    assert store.clear() == 100
    cleared = store.info()
    assert cleared is not None
    assert cleared.answers == 0
    assert cleared.size < info.size / 10
    store.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\0" * 5_000])
def test_file_that_is_no_cache_is_set_aside_with_a_warning(
    content: bytes, store: AnswerStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    store.put([(key(1), 0, b"one")])
    assert store.get([(key(1), 0)]) == [b"one"]
    store.close()
    [aside] = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert aside.name in caplog.text


def test_damaged_pages_are_noticed(store: AnswerStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put([(key(number), 0, b"x" * 500) for number in range(1_000)])
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:-4096] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    store.get([(key(number), 0) for number in range(1_000)])
    store.put([(key(1), 0, b"one")])
    assert store.get([(key(1), 0)]) == [b"one"]
    store.close()
    assert list(path.parent.glob("*.damaged-*"))


@pytest.mark.parametrize("statement", ["CREATE TABLE t (a)", "PRAGMA user_version = 2"], ids=["program", "version"])
def test_database_of_another_program_or_version_is_left_alone(
    statement: str, store: AnswerStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    if "version" in statement:
        store.put([(key(1), 0, b"one")])
        store.close()
    other = sqlite3.connect(path)
    other.execute(statement)
    other.commit()
    other.close()
    before, again = path.read_bytes(), AnswerStore(path)
    again.put([(key(1), 0, b"two")])
    assert again.get([(key(1), 0)]) == [None]
    assert again.info() is None
    assert again.clear() == 0
    again.close()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert len(caplog.records) == 1
    assert "the cache is not used" in caplog.text
    assert "set another cache_path" in caplog.text


@pytest.mark.parametrize("method", ["info", "clear"])
def test_file_that_is_no_cache_is_only_reported_by_commands(
    method: str, store: AnswerStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"notes of the user" * 100)
    assert not getattr(store, method)()
    store.close()
    assert not store.is_usable
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"notes of the user" * 100
    assert "file is not a database" in caplog.text


def test_fork_opens_the_file_again_and_leaves_that_of_its_parent_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AnswerStore(path)) as store:
        store.put([(key(1), 0, b"one")])
        parent = store._database
        assert parent is not None
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            assert store.get([(key(1), 0)]) == [b"one"]
            assert store._database is not parent
            assert list(parent.execute("SELECT count(*) FROM answers")) == [(1,)]
            store.close()
        parent.close()


def test_file_that_another_process_has_replaced_is_not_set_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"damaged" * 1_000)
    first, second = AnswerStore(path), AnswerStore(path)
    attempts = iter([True])

    def late(database: sqlite3.Connection) -> None:
        """Notices the damage only after the other one has replaced the file."""
        if next(attempts, False):
            path.unlink()
            first.put([(key(1), 0, b"one")])
            raise sqlite3.DatabaseError("damaged")

    with closing(first), closing(second):
        path.write_bytes(b"")
        second.get([(key(9), 0)])
        second._try(late)
        assert second.get([(key(1), 0)]) == [b"one"]
    assert not list(path.parent.glob("*.damaged-*"))


def test_cache_that_cannot_be_opened_is_ignored_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = AnswerStore(tmp_path / "file" / "answers.sqlite3")
    with caplog.at_level(logging.WARNING, "asyncinfer"):
        store.put([(key(1), 0, b"one")])
        assert store.get([(key(1), 0)]) == [None]
    assert len(caplog.records) == 1
    assert "the cache is not used" in caplog.text
    store.close()


def test_threads_share_a_store(store: AnswerStore) -> None:
    def work(start: int) -> None:
        for number in range(start, start + 50):
            store.put([(key(number), 0, b"x")])

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = store.info()
    assert info is not None
    assert info.answers == 150
    store.close()


@pytest.mark.slow
def test_processes_share_a_file(store: AnswerStore, path: Path) -> None:
    code = """
import sys
from pathlib import Path
from asyncinfer.scratch.answer_store import AnswerStore
store, start = AnswerStore(Path(sys.argv[1])), int(sys.argv[2])
for number in range(start, start + 100):
    store.put([(number.to_bytes(16), 0, b"x")])
store.close()
"""
    command = [sys.executable, "-W", "error", "-c", code, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [subprocess.Popen([*command, str(start)], env=environment) for start in (0, 1000, 2000, 3000)]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    info = store.info()
    assert info is not None
    assert info.answers == 400
    store.close()
