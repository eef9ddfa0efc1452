"""Shared libraries are loaded before the import, which would block all threads."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from asyncinfer.engines.local.shared_libraries import preload


def test_package_that_is_not_installed_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list[str]())
    preload("torch", "triton", "cv2")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux preloads libraries")
def test_library_that_cannot_be_loaded_is_left_to_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "torch" / "lib" / "libtorch_cpu.so"
    broken.parent.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    broken.write_bytes(b"no library")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    with caplog.at_level(logging.DEBUG, "asyncinfer"):
        preload("torch")
    assert f"{broken}: left to the import" in caplog.text


@pytest.mark.heavy
def test_import_works_after_preload() -> None:
    script = """
import sys
from pathlib import Path
from asyncinfer.engines.local.shared_libraries import preload
preload("torch", "triton", "cv2")
assert "torch" not in sys.modules
assert "libtorch_cpu.so" in Path("/proc/self/maps").read_text()
import torch, triton, cv2
print(torch.ones(2).sum().item())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr
