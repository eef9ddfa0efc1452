"""Shows and empties the cache of answers."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

from asyncinfer.cli.exit_codes import RUN_ERROR
from asyncinfer.engines.call_input import absolute_path
from asyncinfer.scratch.answer_store import DEFAULT_PATH, AnswerStore


def show_info(path: Path | None) -> int:
    """Print what the cache holds, and return the exit code."""
    with closing(_store(path)) as store:
        info = store.info()
        print(f"file     {store.path}")
        if info is None:
            print("answers  0" if not store.path.exists() else "answers  unknown: the file cannot be read")
            return RUN_ERROR if store.path.exists() else 0
    print(f"answers  {info.answers:,}")
    print(f"size     {info.size / (1 << 20):,.1f} MiB")
    if info.oldest is not None and info.latest is not None:
        print(f"used     {_day(info.oldest)} to {_day(info.latest)}")
    return 0


def clear_cache(path: Path | None) -> int:
    """Remove all answers, and return the exit code."""
    with closing(_store(path)) as store:
        removed = store.clear()
        if store.is_usable:
            print(f"{removed:,} answers removed from {store.path}")
        return 0 if store.is_usable else RUN_ERROR


def _store(path: Path | None) -> AnswerStore:
    file = absolute_path(path or DEFAULT_PATH, "cache_path")
    assert file is not None, "there is a default"
    return AnswerStore(file)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).date().isoformat()
