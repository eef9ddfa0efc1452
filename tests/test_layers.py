"""The rooms: a file imports only from its own room or from rooms to the right."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncinfer

PACKAGE = Path(asyncinfer.__file__).parent
# What each room may import besides itself.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "aio": {"errors"},
    "types": {"errors"},
    "config": {"types", "errors"},
    "sync": {"config", "types", "errors"},
    "scratch": {"aio", "sync", "config", "types", "errors"},
    "control": {"sync", "config", "types", "errors"},
    "dialects": {"sync", "config", "types", "errors"},
    "providers": {"aio", "dialects", "control", "scratch", "sync", "config", "types", "errors"},
    "net": {"aio", "dialects", "control", "scratch", "sync", "config", "types", "errors"},
    "transport": {"aio", "net", "dialects", "control", "scratch", "sync", "config", "types", "errors"},
    "run": {
        "aio",
        "transport",
        "net",
        "providers",
        "dialects",
        "control",
        "scratch",
        "sync",
        "config",
        "types",
        "errors",
    },
    "engines": {
        "aio",
        "run",
        "transport",
        "net",
        "providers",
        "dialects",
        "control",
        "scratch",
        "sync",
        "config",
        "types",
        "errors",
    },
    "cli": {
        "aio",
        "engines",
        "run",
        "transport",
        "net",
        "providers",
        "dialects",
        "control",
        "scratch",
        "sync",
        "config",
        "types",
        "errors",
    },
}
PURE = {"control", "dialects"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.stem.startswith("__"))


def imports(path: Path) -> Iterator[str]:
    """The modules a file imports at run time, those inside functions included."""
    tree = ast.parse(path.read_text())
    for_the_checker = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in for_the_checker:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "asyncinfer":
                yield from (f"asyncinfer.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_to_the_right(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "asyncinfer" and len(parts) > 1:
            assert parts[1] in ROOMS[room] | {room}, f"{room} may not import {module}"
        elif room in PURE:
            assert parts[0] not in {"asyncio", "anyio", "aiohttp"}, f"{room} is pure"


def test_every_room_is_known() -> None:
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} == set(ROOMS)


def test_importing_the_package_loads_no_heavy_module() -> None:
    heavy = (
        "{'aiohttp', 'botocore', 'llama_cpp', 'torch', 'transformers', 'vllm', 'typer', 'rich', 'yaml', 'google.auth'}"
    )
    code = f"import sys, asyncinfer; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['yaml']")


API = """
AdaptiveConcurrencyParams AnthropicInferenceEngine AsyncInferError BaseInferenceEngine BedrockInferenceEngine
CerebrasInferenceEngine ConfigError ContentItem Conversation DeepSeekInferenceEngine EngineConfigError EngineDeadError
FailureDetail FinishReason FireworksInferenceEngine GenerationParams GoogleGeminiInferenceEngine
GoogleVertexInferenceEngine GuidedDecodingParams HuggingFaceRouterInferenceEngine InferenceConfig InferenceEngineType
InferenceErrorType InferenceFailedError InferenceResult InputError LlamaCppInferenceEngine Message
MissingDependencyError ModelParams NativeTextInferenceEngine OpenAIInferenceEngine OpenRouterInferenceEngine
ParasailInferenceEngine Progress RemoteInferenceEngine RemoteParams RemoteVLLMInferenceEngine RequestError Role
RunInterruptedError RunSummary SGLangInferenceEngine SambanovaInferenceEngine ScratchError ScratchLockedError Stop
StreamDelta TogetherInferenceEngine ToolCall ToolDefinition Type UnexpectedCancellationError Usage VLLMInferenceEngine build_engine
register_engine register_provider
"""


def test_all_is_the_api() -> None:
    assert asyncinfer.__all__ == API.split()
    for name in asyncinfer.__all__:
        assert getattr(asyncinfer, name) is not None
