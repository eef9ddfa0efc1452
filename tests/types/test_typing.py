"""Type checkers accept what the constructors and methods accept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ACCEPTED = """
from pathlib import Path

import asyncinfer
from asyncinfer import (
    BackgroundIterator,
    Completion,
    ContentItem,
    Conversation,
    InferenceConfig,
    Message,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    Request,
    Role,
    StreamDelta,
)

remote = RemoteParams(api_key="sk-1", headers={"a": "b"}, api_url="http://localhost/v1")
message = Message(role="user", content="hi")
role: Role = message.role
same = Message(role=Role.USER, content=[ContentItem(type="text", content="hi")])
config = InferenceConfig(engine="OPENAI", input_path=Path("a"), output_path="b", remote_params=remote)
engine = OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
version: str = asyncinfer.__version__
path: str | None = config.input_path
key: str | None = remote.api_key.get_secret_value() if remote.api_key is not None else None


async def calls(request: Request, completion: Completion) -> None:
    answer = await engine.agenerate("hello")
    text: str = answer.text + answer.messages[-1].text
    await engine.agenerate([{"role": "user", "content": "hi"}])
    await engine.agenerate([message, same])
    await engine.agenerate({"messages": [{"role": "user", "content": "hi"}]})
    rows: list[Conversation] = await engine.ainfer(["question", answer, [message]])
    stream: BackgroundIterator[StreamDelta] = engine.astream("question")
    async for delta in stream:
        print(delta.content)
    async for index, outcome in engine.ainfer_iter(["a", "b"]):
        print(index, outcome.text if isinstance(outcome, Conversation) else outcome.error_message, text, rows)


def weather(city: str) -> str:
    return city


tool: dict[str, object] = {"type": "function", "function": {"name": "f"}}
chat = Conversation(messages=[message, {"role": "user", "content": "hi"}], tools=[weather, tool])
chat.messages.append(message)
for index, outcome in engine.infer_iter(["hello"]):
    print(index, outcome)
print(engine.generate("hello").text, engine.infer(["hello"]), role, version, path, key)
"""

REFUSED = """
from asyncinfer import Message, RemoteParams

Message(role="usr", content="hi")
Message(content="hi")
RemoteParams(api_key=3)
"""


def errors(folder: Path, code: str) -> list[str]:
    """Return the errors that pyright finds in strict mode."""
    pytest.importorskip("pyright")
    (folder / "sample.py").write_text(code)
    config = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(folder), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return [entry["message"] for entry in json.loads(done.stdout)["generalDiagnostics"]]


@pytest.mark.slow
def test_values_that_are_converted_are_accepted(tmp_path: Path) -> None:
    assert errors(tmp_path, ACCEPTED) == []


@pytest.mark.slow
def test_wrong_values_are_still_refused(tmp_path: Path) -> None:
    found = errors(tmp_path, REFUSED)
    assert len(found) == 3, found
