"""Odd paths for every file that a run reads or writes give a clear error before the first request, without a wait."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncinfer import AsyncInferError, ConfigError, Conversation, InferenceConfig, InputError, ScratchError
from asyncinfer.aio.limiters import DISK
from asyncinfer.scratch.atomic import temporary_for
from tests.fakes import FakeEngine, questions, read_jsonl, rejection, write_jsonl

LONG = "n" * 300


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def unix_socket(path: Path) -> Path:
    place = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{place}/{path.name}")  # a short path
    finally:
        os.close(place)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def device(name: str) -> Callable[[Path], Path]:
    def link(path: Path) -> Path:
        path.symlink_to(name)
        return path

    return link


# Each function makes something that is not a regular file at a new path.
NO_FILES: dict[str, Callable[[Path], Path | str]] = {
    "a pipe": fifo,
    "a folder": folder,
    "a loop of links": loop,
    "/dev/zero": lambda _: "/dev/zero",
    "/dev/full": lambda _: "/dev/full",
    "a link to /dev/null": device("/dev/null"),
    "a NUL": lambda path: f"{path}\0x",
    "a name that is too long": lambda path: str(path.parent / LONG),
    "an unknown user": lambda _: "~nobody-of-this-name/x.jsonl",
    "half a character": lambda path: f"{path}\ud800",
    "below a file": lambda path: str(write_jsonl(path, questions(1)) / "x.jsonl"),
    "empty": lambda _: "",
}


def no_file(*left_out: str) -> pytest.MarkDecorator:
    made = {name: make for name, make in NO_FILES.items() if name not in left_out}
    return pytest.mark.parametrize("make", made.values(), ids=made)


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(3))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


async def refused(config: InferenceConfig, key: str, path: Path | str, error: type[AsyncInferError]) -> None:
    """Check that the run ends with an error of this kind that names the path, before any request."""
    engine = FakeEngine()
    with pytest.raises(error) as caught:
        await engine.arun(config.model_copy(update={key: str(path)}))
    assert not engine.asked
    name = str(path).removeprefix("~")
    assert name in str(caught.value) or repr(name)[1:-1] in str(caught.value)


class TestThatCannotBeUsed:
    @no_file()
    async def test_odd_path_as_input_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path | str]
    ) -> None:
        await refused(config, "input_path", make(tmp_path / "x"), AsyncInferError)

    @no_file()
    async def test_odd_path_as_output_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path | str]
    ) -> None:
        path = make(tmp_path / "x")
        await refused(config, "output_path", path, ConfigError)
        assert Path("/dev/full").is_char_device()
        assert not list(tmp_path.glob("**/*.tmp"))

    @no_file("below a file")  # a warning: another run may make the folder
    async def test_odd_path_as_progress_path_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path | str]
    ) -> None:
        path = make(tmp_path / "x")
        await refused(config, "progress_path", path, ConfigError)
        assert Path("/dev/full").is_char_device()

    @no_file("empty")  # no row
    async def test_odd_path_as_image_fails_its_row(self, tmp_path: Path, make: Callable[[Path], Path | str]) -> None:
        path = str(make(tmp_path / "x"))
        items = [{"type": "image_path", "content": path}]
        row = Conversation.from_dict({"messages": [{"role": "user", "content": items}]})
        engine = FakeEngine()
        with pytest.raises(InputError, match="row 0: "):
            await engine.ainfer([row])
        assert not engine.asked

    @pytest.mark.parametrize("make", [fifo, folder, unix_socket, loop, device("/dev/zero")])
    async def test_odd_path_as_scratch_file_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path]
    ) -> None:
        (tmp_path / "scratch").mkdir()
        make(tmp_path / "scratch" / "out.jsonl")
        engine = FakeEngine()
        with pytest.raises((ScratchError, ConfigError), match=r"scratch/out\.jsonl"):
            await engine.arun(config)
        assert not engine.asked

    @pytest.mark.parametrize("make", [fifo, folder, loop])
    async def test_odd_path_as_lock_file_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path]
    ) -> None:
        (tmp_path / "scratch").mkdir()
        make(tmp_path / "scratch" / "out.jsonl.lock")
        engine = FakeEngine()
        with pytest.raises(ScratchError, match=r"its lock .*scratch/out\.jsonl\.lock"):
            await engine.arun(config)
        assert not engine.asked

    @pytest.mark.parametrize("make", [fifo, folder, loop, device("/dev/zero")])
    async def test_odd_path_as_output_to_reuse_is_refused(
        self, config: InferenceConfig, tmp_path: Path, make: Callable[[Path], Path]
    ) -> None:
        make(tmp_path / "out.jsonl")
        with pytest.raises(ConfigError, match="output_path"):
            await FakeEngine().arun(config.model_copy(update={"reuse_output": True}))

    async def test_output_named_like_the_scratch_folder_is_refused(
        self, config: InferenceConfig, tmp_path: Path
    ) -> None:
        await refused(config, "output_path", tmp_path / "scratch", ConfigError)
        assert not (tmp_path / "scratch").exists()

    async def test_run_goes_on_without_a_usable_cache(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The run goes on without it, and says so."""
        caplog.set_level(logging.WARNING)
        (home / ".cache").write_text("no folder")
        assert len(await FakeEngine().ainfer(questions(3))) == 3
        assert "This run is not saved as it goes" in caplog.text

    @pytest.mark.parametrize("name", ["/proc/self/comm", "/proc/out.jsonl", "/sys/kernel/out.jsonl"])
    async def test_output_in_a_system_folder_is_refused(self, config: InferenceConfig, name: str) -> None:
        engine = FakeEngine()
        with pytest.raises((ConfigError, ScratchError)):
            await engine.arun(config.model_copy(update={"output_path": name}))
        assert not engine.asked


class TestThatCanBeUsed:
    @pytest.mark.parametrize("length", [255, 251, 245])
    async def test_longest_possible_names_work(self, config: InferenceConfig, tmp_path: Path, length: int) -> None:
        names = [letter * length for letter in "abc"]
        (tmp_path / "in.jsonl").rename(tmp_path / names[0])
        paths = dict(
            zip(("input_path", "output_path", "progress_path"), (str(tmp_path / n) for n in names), strict=True)
        )
        summary = await FakeEngine().arun(config.model_copy(update=paths))
        assert summary.completed == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == names

    @pytest.mark.parametrize(
        "name", ["наука.jsonl", "a b\n.jsonl", "\U0001f600", "e\u0301", "-", "--x", "'\"", "%s", "x.lock"]
    )
    async def test_unusual_names_work(self, config: InferenceConfig, tmp_path: Path, name: str) -> None:
        summary = await FakeEngine().arun(config.model_copy(update={"output_path": str(tmp_path / name)}))
        assert summary.completed == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.jsonl", name])

    async def test_a_link_stays_a_link(self, config: InferenceConfig, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out.jsonl").symlink_to("elsewhere/real.jsonl")
        (tmp_path / "progress.json").symlink_to("elsewhere/progress.json")
        await FakeEngine().arun(config.model_copy(update={"progress_path": str(tmp_path / "progress.json")}))
        assert (tmp_path / "out.jsonl").is_symlink()
        assert len(read_jsonl(tmp_path / "elsewhere" / "real.jsonl")) == 3
        assert json.loads((tmp_path / "elsewhere" / "progress.json").read_text())["completed"] == 3
        assert sorted(os.listdir(tmp_path / "elsewhere")) == ["progress.json", "real.jsonl"]

    @pytest.mark.parametrize("mode", [0o600, 0o644, 0o440])
    async def test_the_output_keeps_the_permissions_of_the_file_it_replaces(
        self, config: InferenceConfig, tmp_path: Path, mode: int
    ) -> None:
        output = tmp_path / "out.jsonl"
        output.touch()
        output.chmod(mode)
        await FakeEngine().arun(config)
        assert stat.S_IMODE(output.stat().st_mode) == mode

    async def test_a_new_output_has_the_permissions_of_any_new_file(
        self, config: InferenceConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "other").touch()
        await FakeEngine().arun(config)
        assert (tmp_path / "out.jsonl").stat().st_mode == (tmp_path / "other").stat().st_mode

    async def test_what_a_killed_run_left_is_removed_before_anything_is_asked(
        self, config: InferenceConfig, tmp_path: Path
    ) -> None:
        left = await DISK.run(temporary_for, tmp_path / "out.jsonl")
        left.write_bytes(b"half an output")
        left.chmod(0o400)

        def script(*_: object) -> None:
            assert not os.path.lexists(left)
            raise rejection()

        assert (await FakeEngine(script).arun(config)).failed == 3

    async def test_the_temporary_file_of_somebody_else_is_not_written(
        self, config: InferenceConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "victim").write_text("theirs")
        (await DISK.run(temporary_for, tmp_path / "out.jsonl")).symlink_to(tmp_path / "victim")
        os.link(tmp_path / "victim", (await DISK.run(temporary_for, tmp_path / "progress.json")))
        await FakeEngine().arun(config.model_copy(update={"progress_path": str(tmp_path / "progress.json")}))
        assert (tmp_path / "victim").read_text() == "theirs"
        assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl", "progress.json", "victim"]

    async def test_a_relative_output_stays_where_it_was_when_the_run_began(
        self, config: InferenceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").mkdir()
        monkeypatch.chdir(tmp_path / "a")

        def script(*_: object) -> None:
            os.chdir(tmp_path)

        await FakeEngine(script).arun(config.model_copy(update={"output_path": "out.jsonl"}))
        assert len(read_jsonl(tmp_path / "a" / "out.jsonl")) == 3


@pytest.mark.parametrize("name", ["out.jsonl", "./x/out.jsonl"])
def test_deleted_working_directory_is_a_clear_error(tmp_path: Path, name: str) -> None:
    """Runs in a child process, because the working directory is deleted."""
    write_jsonl(tmp_path / "in.jsonl", questions(3))
    code = f"""
import os
from asyncinfer import ConfigError, InferenceConfig
from tests.fakes import FakeEngine
os.mkdir({str(tmp_path / "gone")!r})
os.chdir({str(tmp_path / "gone")!r})
os.rmdir({str(tmp_path / "gone")!r})
for key in ("output_path", "progress_path", "input_path"):
    paths = {{"input_path": {str(tmp_path / "in.jsonl")!r}, "output_path": {str(tmp_path / "o.jsonl")!r}, key: {name!r}}}
    try:
        FakeEngine().run(InferenceConfig(**paths))
    except ConfigError as error:
        print(error)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("output_path: ")
    assert second.startswith("progress_path: ")
    assert third.startswith(f"input_path: {Path(name)} cannot be read: ")
    assert "No such file or directory" in first


@pytest.mark.parametrize("setting", ["output_path", "progress_path"])
@pytest.mark.parametrize("end", ["new/", "new//", "new/."])
async def test_a_path_that_ends_like_a_folder_is_refused(tmp_path: Path, setting: str, end: str) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(3))
    paths = {"input_path": str(tmp_path / "in.jsonl"), "output_path": str(tmp_path / "o.jsonl")}
    engine = FakeEngine()
    with pytest.raises(ConfigError, match=f"{setting}: .* is the path of a folder"):
        await engine.arun(InferenceConfig(**paths | {setting: f"{tmp_path}/{end}"}))
    assert not engine.asked
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
