"""examples/notebook.ipynb: each cell runs, as in Jupyter."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from tests.examples.programs import EXAMPLES, HANG_GUARD, ONE_THREAD, REPOSITORY, at, needs_smollm2
from tests.faults import Ask, Fault, FaultServer, repeat, sse, stall, status

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.slow  # Each test starts a kernel.

SETTINGS = "overrides = []"
WHOLE_ANSWER, TEXT, STREAMED, BLOCKING, BLOCKING_STREAM, MANY, FAILURES, CLOSE = range(1, 9)


def notebook(*overrides: str) -> Any:
    """The notebook, with these settings in its first cell."""
    read = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    [first, *_] = (cell for cell in read.cells if cell.cell_type == "code")
    assert SETTINGS in first.source
    first.source = first.source.replace(SETTINGS, f"overrides = {list(overrides)}")
    return read


def client(read: Any, **options: Any) -> Any:
    folder = {"metadata": {"path": str(EXAMPLES)}}
    return nbclient.NotebookClient(read, timeout=HANG_GUARD, resources=folder, coalesce_streams=True, **options)


def outputs(read: Any) -> list[list[Any]]:
    """The outputs of each cell with code."""
    return [cell.outputs for cell in read.cells if cell.cell_type == "code"]


def printed(cell: list[Any]) -> str:
    return "".join(output.text for output in cell if output.output_type == "stream")


def text_of(cell: list[Any]) -> str:
    """The text of the last thing that the cell shows."""
    return cell[-1].data["text/plain"]


@pytest.fixture(autouse=True)
def package_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def reply(ask: Ask) -> Fault | None:
    if ask.body.get("stream"):
        return sse(["Par", "is"])
    return status(400, "too long") if ask.question.startswith("very") else None


async def test_every_cell_runs_and_shows_its_result() -> None:
    async with FaultServer(reply) as server:
        read = notebook(*at(server.url))
        await client(read).async_execute()
    cells = outputs(read)
    answer = "answer to What is the capital of France?"
    assert text_of(cells[WHOLE_ANSWER]).startswith("Conversation(")
    assert "#### assistant" in cells[WHOLE_ANSWER][-1].data["text/markdown"]
    assert answer in text_of(cells[TEXT])
    assert text_of(cells[BLOCKING]) == repr(answer)
    assert printed(cells[STREAMED]) == printed(cells[BLOCKING_STREAM]) == "Paris"
    assert printed(cells[MANY]).splitlines()[0] == f"France: {answer}"
    assert "too long" in cells[FAILURES][-1].data["text/markdown"]
    assert not cells[CLOSE]
    for cell, rows in ((cells[MANY], "6/6"), (cells[FAILURES], "7/7")):
        [bar, *_] = (output for output in cell if output.output_type == "display_data")
        assert rows in bar.data["text/plain"]
        assert "text/html" in bar.data


# In ipykernel 7.4 an interrupt waits for the next event of the event loop. A stream and a progress bar cause events.
INTERRUPTIBLE = {
    "stream": "async with engine.astream('Hello!') as stream:\n    async for _ in stream: pass",
    "many": "await engine.ainfer(['Hello!', 'Bye!'], progress=True)",
    "blocking": "engine.generate('Hello!')",
    "blocking stream": "for _ in engine.stream('Hello!'): pass",
}
PIECE = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
ENDLESS = repeat(f"data: {json.dumps(PIECE)}\n\n".encode())


async def test_interrupting_the_kernel_ends_the_requests() -> None:
    async with FaultServer(lambda ask: ENDLESS if ask.body.get("stream") else stall) as server:
        setup, *_ = (cell for cell in notebook(*at(server.url)).cells if cell.cell_type == "code")
        cells = {name: nbformat.v4.new_code_cell(source) for name, source in INTERRUPTIBLE.items()}
        notebook_client = client(nbformat.v4.new_notebook(cells=[setup, *cells.values()]), allow_errors=True)
        async with notebook_client.async_setup_kernel():
            await notebook_client.async_execute_cell(setup, 0)
            for place, cell in enumerate(cells.values(), 1):
                await interrupt(notebook_client, cell, place, server)
    for name, cell in cells.items():
        [error] = (output for output in cell.outputs if output.output_type == "error")
        assert error.ename in ("KeyboardInterrupt", "CancelledError"), name


async def interrupt(notebook_client: Any, cell: Any, place: int, server: FaultServer) -> None:
    """Interrupt the kernel when the requests of the cell have arrived. They must end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notebook_client.async_execute_cell, cell, place)
        await server.until(lambda: server.in_flight > 0)
        await notebook_client.km.interrupt_kernel()
    await server.until(lambda: server.in_flight == 0)


@pytest.mark.model
@needs_smollm2
async def test_every_cell_runs_with_the_default_model() -> None:
    read = notebook(*ONE_THREAD, "generation.max_new_tokens=16")
    await client(read).async_execute()
    cells = outputs(read)
    assert text_of(cells[BLOCKING]) == "'The capital of France is Paris.'"
    assert printed(cells[MANY]).splitlines()[1] == "Japan: The capital of Japan is Tokyo."
    assert "Raise model.model_max_length" in text_of(cells[FAILURES])
