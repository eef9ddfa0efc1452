"""Configurations that are read from a pipe, and paths that are not files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceConfig
from asyncinfer.types.pipes import read_small


def test_configuration_is_read_from_a_pipe(tmp_path: Path) -> None:
    """As with `-c <(...)` in a shell."""
    reading, writing = os.pipe()
    os.write(writing, b"model: {model_name: m}")
    os.close(writing)
    try:
        assert InferenceConfig.from_yaml(f"/dev/fd/{reading}").model.model_name == "m"
    finally:
        os.close(reading)


def test_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = b"x" * 300_000
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(data))
    writer.start()
    assert read_small(tmp_path / "fifo") == data
    writer.join()


def test_pipe_without_a_writer_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="nothing was written to the pipe"):
        read_small(tmp_path / "fifo", wait=0.01)


def test_endless_pipe_is_an_error() -> None:
    reading, writing = os.pipe()

    def write_without_end() -> None:
        try:
            while True:
                os.write(writing, b"x" * 65536)
        except BrokenPipeError:
            os.close(writing)

    writer = threading.Thread(target=write_without_end)
    writer.start()
    try:
        with pytest.raises(OSError, match="larger than 16 MiB"):
            read_small(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        writer.join()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "a\0b", "x" * 300, "half \ud800"])
def test_path_that_is_not_a_file_is_a_config_error(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read: "):
        InferenceConfig.from_yaml(path)


@pytest.mark.parametrize("path", ["/dev/full", "a\0b", "/nowhere/x.yaml", "x" * 300])
def test_configuration_that_cannot_be_written_is_a_config_error(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written: "):
        InferenceConfig().to_yaml(path)
