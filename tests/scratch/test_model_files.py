"""The files of a local model are part of the keys of its rows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from asyncinfer import GenerationParams, InferenceConfig, ModelParams
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.model_paths import model_paths
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.scratch.model_files import identify
from tests.engines.local.test_engine import Counter
from tests.fakes import question, read_jsonl


class OnDiskEngine(LocalInferenceEngine):
    """A model whose files do not matter to its answers."""

    engine_type = "ON_DISK"

    def _load(self) -> Stepper:
        return Counter()


def params(**more: object) -> ModelParams:
    return ModelParams.model_validate(more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "merges.txt"):
        (path / name).write_text(name)
    return path


def write(path: Path, text: str) -> None:
    """Write other bytes, with a later modification time."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize("name", ["config.json", "model-00002-of-00002.safetensors", "chat_template.jinja"])
def test_changed_model_file_is_noticed(folder: Path, name: str) -> None:
    before = identify({"model_name": folder})
    write(folder / name, "trained anew")
    assert identify({"model_name": folder}) != before


@pytest.mark.parametrize("name", ["out.jsonl", "train.log", "progress.json", "optimizer_state.txt"])
def test_other_files_in_the_folder_are_ignored(folder: Path, name: str) -> None:
    before = identify({"model_name": folder})
    write(folder / name, "x")
    assert identify({"model_name": folder}) == before


def test_changed_shard_of_a_gguf_model_is_noticed(tmp_path: Path) -> None:
    first, second, other = (tmp_path / f"{name}.gguf" for name in ("m-00001-of-00002", "m-00002-of-00002", "n"))
    for path in (first, second, other):
        path.write_text("x")
    before = identify({"model_name": first})
    write(other, "y")
    assert identify({"model_name": first}) == before
    write(second, "y")
    assert identify({"model_name": first}) != before


def test_paths_in_the_settings_are_found(tmp_path: Path, home: Path) -> None:
    found = model_paths(
        params(
            model_name="~/model.gguf",
            adapter_model="lora",
            tokenizer_name=str(tmp_path),
            model_kwargs={"mmproj": "pkg:asyncinfer/py.typed", "n_ctx": 3, "cache_dir": "x", "draft": "~nobody-x/y"},
        )
    )
    import asyncinfer

    assert found == {
        "model_name": home / "model.gguf",
        "adapter_model": Path("lora"),
        "tokenizer_name": tmp_path,
        "model_kwargs.mmproj": Path(asyncinfer.__file__).parent / "py.typed",
    }


def test_names_that_are_not_paths_are_left_out(tmp_path: Path) -> None:
    names = ["owner/model", "x" * 5000, "a\0b", "", "/proc/self/mem/x"]
    assert identify({name: Path(name) for name in names}) == [] or sys.platform != "linux"


def test_keys_without_model_files_are_unchanged() -> None:
    model, generation = params(model_name="m"), GenerationParams()
    plain = RowKeys("REMOTE", model, generation)(question("a"))
    assert RowKeys("REMOTE", model, generation, files=())(question("a")) == plain
    assert RowKeys("REMOTE", model, generation, files=[("model_name", "m", 1, 2)])(question("a")) != plain


def test_token_for_the_hub_is_not_part_of_a_key() -> None:
    def of(**kwargs: object) -> bytes:
        return RowKeys("VLLM", params(model_name="m", model_kwargs=kwargs), GenerationParams())(question("a"))

    assert of(token="sekret") == of(hf_token="other") == of()
    with_token = params(model_name="m", tokenizer_kwargs={"token": "sekret", "use_fast": True})
    without = params(model_name="m", tokenizer_kwargs={"use_fast": True})
    assert (
        RowKeys("VLLM", with_token, GenerationParams())(question("a"))
        == RowKeys("VLLM", without, GenerationParams())(question("a"))
    )  # fmt: skip


async def test_rows_of_a_retrained_model_are_sent_again(tmp_path: Path, folder: Path) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), reuse_output=True)
    rows = [question("1"), question("2")]

    async def sent() -> list[str]:
        counter = Counter()
        engine = OnDiskEngine(params(model_name=str(folder)))
        engine._load = lambda: counter  # type: ignore[method-assign]
        async with engine:
            await engine.ainfer(rows, config)
        return counter.added

    assert await sent() == ["1", "2"]
    assert await sent() == []
    write(folder / "model-00001-of-00002.safetensors", "trained anew")
    assert await sent() == ["1", "2"]
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2


async def test_key_does_not_change_while_the_model_is_loaded(tmp_path: Path, folder: Path) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), reuse_output=True)
    async with OnDiskEngine(params(model_name=str(folder))) as engine:
        [before] = await engine.ainfer([question("1")], config)
        write(folder / "config.json", "trained anew")
        [after] = await engine.ainfer([question("1")], config)
    assert after.metadata["row_key"] == before.metadata["row_key"]


class TunableEngine(OnDiskEngine):
    """A model with an option that does not change its answers."""

    unhashed_model_kwargs = frozenset({"n_threads"})


@pytest.mark.parametrize(("option", "is_sent"), [("n_threads", False), ("n_ctx", True)])
async def test_rows_are_sent_again_only_if_a_changed_option_changes_answers(
    tmp_path: Path, option: str, is_sent: bool
) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), reuse_output=True)
    counter = Counter()
    for value in (1, 2):
        engine = TunableEngine(params(model_name="m", model_kwargs={option: value}))
        engine._load = lambda: counter  # type: ignore[method-assign]
        async with engine:
            await engine.ainfer([question("1")], config)
    assert counter.added == (["1", "1"] if is_sent else ["1"])
