"""The layers of the package: imports go one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import asyncinfer

PACKAGE = Path(asyncinfer.__file__).parent
# In order: a module imports only from its own layer and from earlier ones.
LAYERS = (
    "errors",
    "types",
    "config",
    "aio",
    "control",
    "scratch",
    "dialects",
    "providers",
    "transport",
    "data",
    "run",
    "batch",
    "display",
    "report",
    "telemetry",
    "distributed",
    "engines",
    "serve",
    "integrations",
    "cli",
)
LOCAL_ENGINES = ("llama_cpp", "transformers", "vllm")
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


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_its_layer_and_earlier_ones(path: Path) -> None:
    layer = layer_of(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "asyncinfer" and len(parts) > 1:
            assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{layer} may not import {module}"
        elif layer in PURE:
            assert parts[0] not in {"asyncio", "anyio", "aiohttp"}, f"{layer} is pure"


@pytest.mark.parametrize("engine", LOCAL_ENGINES)
def test_no_local_engine_imports_another(engine: str) -> None:
    others = {f"asyncinfer.engines.local.{name}" for name in LOCAL_ENGINES if name != engine}
    for path in (PACKAGE / "engines" / "local" / engine).glob("*.py"):
        for module in imports(path):
            assert not any(module == other or module.startswith(other + ".") for other in others), f"{path}: {module}"


def test_what_local_engines_share_imports_none_of_them() -> None:
    shared = [p for p in (PACKAGE / "engines" / "local").rglob("*.py") if p.parent.name not in LOCAL_ENGINES]
    engines = tuple(f"asyncinfer.engines.local.{name}" for name in LOCAL_ENGINES)
    for path in shared:
        assert not [module for module in imports(path) if module.startswith(engines)], path


def test_every_layer_is_known() -> None:
    assert {layer_of(path) for path in FILES} == set(LAYERS)


def test_importing_the_package_loads_no_heavy_module() -> None:
    heavy = (
        "{'aiohttp', 'botocore', 'llama_cpp', 'torch', 'transformers', 'vllm', 'typer', 'rich', 'yaml', 'google.auth', "
        "'ray', 'plotly', 'jinja2', 'opentelemetry', "
        "'pyarrow', 'fsspec', 'pandas', 'polars', 'datasets', 'zstandard'}"
    )
    code = f"import sys, asyncinfer; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['yaml']")


API = """
AdaptiveConcurrencyParams AnthropicInferenceEngine AsyncInferError AttemptFailed AzureOpenAIInferenceEngine
BackgroundIterator BaseInferenceEngine BatchError BatchInfo BatchListResponse BatchParams BatchResult BatchStatus
BedrockInferenceEngine BoundEngine CallSettings CerebrasInferenceEngine CommonFailure Completion ConfigError ContentItem
Conversation ConversationLike CostPerMillion DeepSeekInferenceEngine DistributedInferenceEngine DistributedParams
EndpointParams EndpointSummary EngineConfigError EngineDeadError EngineSpec Estimate FailureDetail FileInfo
FileListResponse FinishReason FireworksInferenceEngine GenerationParams GoogleGeminiInferenceEngine
GoogleVertexInferenceEngine GroqInferenceEngine GuidedDecodingParams HuggingFaceRouterInferenceEngine InferenceConfig
InferenceEngineType InferenceErrorType InferenceFailedError InferenceResult InputError InputParams Interval
InvalidAnswerError LMStudioInferenceEngine Latency LimitsChanged LlamaCppInferenceEngine Message MissingDependencyError
MistralInferenceEngine ModelParams NativeTextInferenceEngine NebiusInferenceEngine Observer OllamaInferenceEngine
OnProgress OpenAIInferenceEngine OpenRouterInferenceEngine OutputParams ParasailInferenceEngine Progress
RemoteInferenceEngine RemoteLlamaCppInferenceEngine RemoteParams RemoteVLLMInferenceEngine ReplicaResources Request
RequestError Role RowFailed RowFinished RowOutcome RowResumed RowReused Rows RunCost RunEvent RunInterruptedError
RunState RunSummary RunWaits SGLangInferenceEngine SambanovaInferenceEngine ScratchError ScratchLockedError
SpendingLimitError Stop StreamDelta TelemetryParams TogetherInferenceEngine ToolCall ToolCallDelta ToolDefinition Type
UnexpectedCancellationError Usage VLLMInferenceEngine XAIInferenceEngine ainfer build_engine build_inference_engine
get_engine infer infer_interactive register_engine register_provider rows_from
"""


def test_all_is_the_api() -> None:
    assert asyncinfer.__all__ == API.split()
    for name in asyncinfer.__all__:
        assert getattr(asyncinfer, name) is not None
    assert set(dir(asyncinfer)) >= {*asyncinfer.__all__, "__version__"}


def test_version_is_that_of_the_installed_package() -> None:
    assert asyncinfer.__version__ == version("asyncinfer")


def test_star_import_gives_the_whole_api() -> None:
    names: dict[str, object] = {}
    exec("from asyncinfer import *", names)
    assert names.keys() - {"__builtins__"} == set(API.split())


def test_unknown_name_is_an_attribute_error() -> None:
    for name in ("nothing", "UnknownInferenceEngine"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(asyncinfer, name)


def test_reading_the_api_loads_no_heavy_module() -> None:
    code = "import sys, asyncinfer; asyncinfer.__all__; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
