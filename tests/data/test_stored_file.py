"""Files behind URLs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from asyncinfer.errors import ConfigError, InputError
from tests.data.tables import opened, read
from tests.file_server import Answer, FileServer

CSV = b"id,text\n1,a\n2,b\n"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_file_behind_a_url_is_copied_once_and_the_copy_is_removed(temporary: Path) -> None:
    with FileServer({"/a.csv": CSV}) as server:
        table = opened(f"{server.url}/a.csv")
        asked = len(server.asked)
        for _ in range(3):
            assert [row.values for row in table.rows()] == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]
        assert len(server.asked) == asked
    assert len([*temporary.iterdir()]) == 1
    table.close()
    assert not [*temporary.iterdir()]


def test_any_protocol_of_fsspec_can_be_read() -> None:
    memory: Any = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.jsonl", b'{"a": 1}\n')
    assert read("memory://bucket/a.jsonl") == [{"a": 1}]


def test_format_is_that_of_the_path_in_the_url() -> None:
    with FileServer({"/a.csv?version=2": CSV}) as server:
        assert len(read(f"{server.url}/a.csv?version=2")) == 2


def test_file_url_is_a_local_path(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(CSV)
    table = opened(f"file://{tmp_path}/a%20b.csv")
    assert table.path == tmp_path / "a b.csv"
    assert len([*table.rows()]) == 2


def test_missing_file_is_an_error_without_secrets(temporary: Path) -> None:
    with FileServer({}) as server, pytest.raises(InputError, match="cannot be read: there is no such file") as caught:
        opened(f"{server.url}/a.csv?X-Amz-Signature=s3cr3t&part=1")
    assert "s3cr3t" not in str(caught.value)
    assert "part=1" in str(caught.value)
    assert not [*temporary.iterdir()]


def test_download_that_breaks_off_is_an_error(temporary: Path) -> None:
    broken = Answer(CSV, headers={"Content-Length": str(len(CSV) + 10), "Connection": "close"})
    with FileServer({"/a.csv": broken}) as server, pytest.raises(InputError, match="a.csv: cannot be read"):
        opened(f"{server.url}/a.csv")
    assert not [*temporary.iterdir()]


def test_protocol_without_its_package_says_what_to_install() -> None:
    with pytest.raises((ConfigError, InputError), match="s3fs|cannot be read"):
        opened("s3://bucket/a.csv")


def test_unknown_protocol_is_an_error() -> None:
    with pytest.raises(InputError, match="nonsense://a.csv: cannot be read: Protocol not known: nonsense"):
        opened("nonsense://a.csv")
