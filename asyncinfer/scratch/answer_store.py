"""The cache of answers: a SQLite file with the answer to each row, by the row's key. All functions block.

Several threads and processes may use the file at the same time. SQLite's write-ahead log lets them read while one of
them writes. The cache is an aid only: a file that cannot be used is reported once, and is then ignored.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from asyncinfer.scratch import disk
from asyncinfer.types.paths import os_error_text

log = logging.getLogger("asyncinfer")

T = TypeVar("T")
Identity = tuple[bytes, int]

DEFAULT_PATH = Path("~/.cache/asyncinfer/answers.sqlite3")
# The file belongs to this package, and has this layout.
_APPLICATION, _LAYOUT = 0x61736966, 1
_SCHEMA = f"""
CREATE TABLE answers (key BLOB NOT NULL, n INTEGER NOT NULL, answer BLOB NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (key, n));
CREATE INDEX by_use ON answers (used);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_LAYOUT};
"""
# How long a thread waits for another process that writes (seconds).
_LOCK_TIMEOUT = 10.0
# The time of the last use is written at most this often (seconds).
_USE_SECONDS = 24 * 3600
# An eviction removes answers until the file is this much below its limit, so that not every write evicts.
_AFTER_EVICTION = 0.9
# The largest share of the limit that is written at once, and that a single answer may take.
_WRITTEN_AT_ONCE = 0.1
# SQLite accepts at least this many parameters in one statement.
_PARAMETERS = 400
_FILES = ("", "-wal", "-shm")
# The files that were reported as not usable, and why.
_reported = set[tuple[Path, str]]()
# The files that the parent of this process has opened. Python closes a file to which nothing refers.
_inherited = list[sqlite3.Connection]()


class CacheInfo(NamedTuple):
    """What a cache holds: the number of answers, the size of the file in bytes, and the oldest and latest use."""

    answers: int
    size: int
    oldest: float | None
    latest: float | None


class ForeignFileError(OSError):
    """The file belongs to another program, or to a newer version of this package. It is not touched."""


class AnswerStore:
    """The answers in one file. It opens the file at the first use.

    Args:
        max_bytes: The largest size of the file. The answers that were not used for the longest time are removed first.
            An answer that would take more than a tenth of it is not kept.
        now: Returns the time in seconds since 1970.

    Attributes:
        is_usable: False after an error. The file is not used again then.
    """

    def __init__(self, path: Path, max_bytes: int = 1 << 30, now: Callable[[], float] = time.time) -> None:
        self.path, self._max_bytes, self._now = path, max_bytes, now
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._process = 0  # It has opened the file. A fork of it opens it again.
        self._finalizer: Callable[[], object] | None = None
        self._file: os.stat_result | None = None
        self.is_usable = True

    def get(self, rows: Sequence[Identity]) -> list[bytes | None]:
        """The answer to each row; None for a row that has none."""
        return self._try(lambda database: self._get(database, rows)) or [None] * len(rows)

    def put(self, answers: Iterable[tuple[bytes, int, bytes]]) -> None:
        """Keep the answers to rows. Each is a key, an occurrence and the answer."""
        now, most = int(self._now()), self._max_bytes * _WRITTEN_AT_ONCE
        values, size = list[tuple[bytes, int, bytes, int]](), 0
        for key, n, answer in answers:
            if len(answer) > most:
                continue
            if size + len(answer) > most:
                self._try(partial(self._put, values=values))
                values, size = [], 0
            values.append((key, n, answer, now))
            size += len(answer)
        if values:
            self._try(partial(self._put, values=values))

    def info(self) -> CacheInfo | None:
        """What the cache holds; None if there is no file, or if it cannot be used."""
        if not self.path.exists():
            return None
        return self._try(self._info, repairs=False)

    def clear(self) -> int:
        """Remove all answers, and return how many there were."""
        if not self.path.exists():
            return 0
        return self._try(self._clear, repairs=False) or 0

    def close(self) -> None:
        """Close the file. It is opened again when it is used."""
        with self._lock:
            self._close()

    def _try(self, work: Callable[[sqlite3.Connection], T], *, repairs: bool = True) -> T | None:
        """The result of `work`. None if the file cannot be used; then it is not used again.

        Args:
            repairs: Move a damaged file away, so that a new one takes its place.
        """
        with self._lock:
            if not self.is_usable:
                return None
            try:
                return self._attempt(work) if repairs else work(self._opened())
            except (sqlite3.Error, OSError) as error:
                self.is_usable = False
                self._close()
                self._report(os_error_text(error))
                return None

    def _report(self, why: str) -> None:
        """Log why the file is not used: as a warning only once in this process, because each call opens the file."""
        level = logging.DEBUG if (self.path, why) in _reported else logging.WARNING
        _reported.add((self.path, why))
        log.log(level, "%s: the cache is not used: %s", self.path, why)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._opened())
        except sqlite3.OperationalError:
            raise  # The file is locked or the disk is full, for example: its content is good.
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        return work(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._database is not None and (self._process != os.getpid() or not self._is_in_place()):
            self._close()
        if self._database is None:
            disk.make_folder(self.path.parent, private=True)
            # SQLite would give the file the permissions of other files. Answers are private.
            fd = disk.open_for_writing(self.path)
            self._file = os.fstat(fd)
            os.close(fd)
            database = sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
            self._database = database
            self._process = os.getpid()
            self._finalizer = weakref.finalize(self, _close_in, os.getpid(), database)
            self._lay_out(database)
            with suppress(sqlite3.OperationalError):  # Another process has just created the file, and sets the mode.
                database.execute("PRAGMA journal_mode = WAL")
            # After a crash of the machine, the latest answers may be missing.
            database.execute("PRAGMA synchronous = NORMAL")
        return self._database

    def _lay_out(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        with database:
            layout = _number(database, "PRAGMA user_version")
            if not layout and not _number(database, "SELECT count(*) FROM sqlite_master"):
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
            elif _number(database, "PRAGMA application_id") != _APPLICATION:
                raise ForeignFileError("it is a database of another program; set another cache_path")
            elif layout != _LAYOUT:
                raise ForeignFileError("another version of asyncinfer wrote it; set another cache_path for this one")

    def _is_in_place(self) -> bool:
        """Whether the path still names the open file. It may have been removed, or replaced by another one."""
        with suppress(FileNotFoundError):
            return self._file is not None and os.path.samestat(self._file, self.path.stat())
        return False

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Move a file that is damaged away, so that a new one takes its place. Another process may have done so."""
        self._close()
        if not self._is_in_place():
            return
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(self._now())}")
        log.warning("%s cannot be used: %s. It is kept as %s, and a new cache begins", self.path, error, aside.name)
        for suffix in _FILES:
            with suppress(FileNotFoundError):
                disk.replace(Path(f"{self.path}{suffix}"), Path(f"{aside}{suffix}"))

    def _close(self) -> None:
        finalizer, self._database = self._finalizer, None
        if finalizer is not None:
            finalizer()

    def _get(self, database: sqlite3.Connection, rows: Sequence[Identity]) -> list[bytes | None]:
        found: dict[Identity, bytes] = {}
        stale: list[tuple[int, bytes, int]] = []
        now, keys = int(self._now()), list({key for key, _ in rows})
        for start in range(0, len(keys), _PARAMETERS):
            part = keys[start : start + _PARAMETERS]
            marks = ",".join("?" * len(part))
            for key, n, answer, used in database.execute(
                f"SELECT key, n, answer, used FROM answers WHERE key IN ({marks})", part
            ):
                found[key, n] = answer
                if now - used > _USE_SECONDS:
                    stale.append((now, key, n))
        if stale:
            database.executemany("UPDATE answers SET used = ? WHERE key = ? AND n = ?", stale)
        return [found.get(row) for row in rows]

    def _put(self, database: sqlite3.Connection, values: Sequence[tuple[bytes, int, bytes, int]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        with database:
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", values)
            if _used_bytes(database) > self._max_bytes:
                self._evict(database)

    def _evict(self, database: sqlite3.Connection) -> None:
        while (excess := _used_bytes(database) - self._max_bytes * _AFTER_EVICTION) > 0:
            oldest = list[tuple[int]]()
            for row, size in database.execute("SELECT rowid, length(answer) FROM answers ORDER BY used, rowid"):
                oldest.append((row,))
                excess -= size
                if excess <= 0:
                    break
            if not oldest:
                return
            database.executemany("DELETE FROM answers WHERE rowid = ?", oldest)

    def _info(self, database: sqlite3.Connection) -> CacheInfo:
        answers, oldest, latest = database.execute("SELECT count(*), min(used), max(used) FROM answers").fetchone()
        return CacheInfo(answers, _used_bytes(database), oldest, latest)

    def _clear(self, database: sqlite3.Connection) -> int:
        removed = database.execute("DELETE FROM answers").rowcount
        with suppress(sqlite3.OperationalError):  # Another process reads.
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed


def _close_in(process: int, database: sqlite3.Connection) -> None:
    """Close the file. In a fork of the process that has opened it, leave it open: SQLite supports no use there."""
    if os.getpid() != process:
        _inherited.append(database)
        return
    with suppress(sqlite3.Error):
        database.close()


def _number(database: sqlite3.Connection, query: str) -> int:
    with closing(database.execute(query)) as rows:
        return int(rows.fetchone()[0])


def _used_bytes(database: sqlite3.Connection) -> int:
    """The bytes of the pages that are in use. Removed answers leave free pages, which are used again."""
    pages = _number(database, "PRAGMA page_count") - _number(database, "PRAGMA freelist_count")
    return pages * _number(database, "PRAGMA page_size")
