"""Row keys stay the same between releases, because scratch files and outputs outlive an upgrade.

The values were recorded once. If one of them changes, users' unfinished runs send every row again.
"""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import (
    BaseInferenceEngine,
    BedrockInferenceEngine,
    Conversation,
    GenerationParams,
    LlamaCppInferenceEngine,
    ModelParams,
    NativeTextInferenceEngine,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    VLLMInferenceEngine,
)
from asyncinfer.scratch.keys import RowKeys
from tests.fakes import question

HELLO = question("hello")
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
}
TALK = Conversation.from_dict(
    {
        "conversation_id": "c-1",
        "metadata": {"source": "test"},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "content": "What is this?"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "user", "content": "And tomorrow?", "name": "Ann"},
        ],
        "tools": [WEATHER],
    }
)
IMAGE = Conversation.from_dict(
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "content": "https://example.com/a.png"},
                    {"type": "image_binary", "binary": "aW1hZ2U="},
                    {"type": "text", "content": "Which is larger?"},
                ],
            }
        ]
    }
)
API = {"api_url": "https://ann:pw@api.example.com/v1/chat/completions?key=k", "api_key": "sekret", "num_workers": 3}
LLAMA_CPP_OPTIONS = {
    "n_ctx": 512,
    "n_threads": 2,
    "n_threads_batch": 2,
    "n_batch": 64,
    "n_ubatch": 64,
    "n_gpu_layers": -1,
    "use_mmap": False,
    "use_mlock": True,
    "low_vram": True,
    "verbose": True,
    "numa": 1,
    "no_perf": True,
    "main_gpu": 0,
    "split_mode": 1,
    "tensor_split": [1.0],
    "offload_kqv": True,
    "op_offload": True,
    "flash_attn": True,
    "cache_dir": "models",
    "local_dir": "here",
    "n_parallel": 4,
    "kv_unified": True,
    "filename": "*q4_0.gguf",
}
VLLM_OPTIONS = {
    "gpu_memory_utilization": 0.5,
    "max_num_seqs": 8,
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 1,
    "enable_prefix_caching": False,
    "quantization": "fp8",
    "hf_token": "sekret",
    "cache_dir": "models",
    "local_dir": "here",
}
TRANSFORMERS_OPTIONS = {
    "device_map": {"": 0},
    "cache_dir": "models",
    "local_dir": "here",
    "token": "sekret",
    "use_auth_token": "sekret",
    "load_in_4bit": True,
}
EVERY_MODEL_PARAM: dict[str, Any] = {
    "model_name": "meta-llama/Llama-3.1-8B-Instruct",
    "adapter_model": "adapter",
    "tokenizer_name": "tokenizer",
    "tokenizer_pad_token": "<pad>",
    "tokenizer_kwargs": {"use_fast": True, "token": "sekret"},
    "processor_kwargs": {"token": "sekret"},
    "max_image_pixels": 100,
    "allow_private_urls": True,
    "model_max_length": 2048,
    "load_pretrained_weights": False,
    "trust_remote_code": True,
    "torch_dtype_str": "bf16",
    "compile": True,
    "chat_template": "llama3-instruct",
    "chat_template_kwargs": {"enable_thinking": False},
    "attn_implementation": "sdpa",
    "device_map": "cpu",
    "enable_liger_kernel": True,
    "shard_for_eval": True,
    "freeze_layers": ["visual"],
    "model_revision": "main",
    "tool_call_parser": "hermes",
}
EVERY_GENERATION_PARAM: dict[str, Any] = {
    "max_new_tokens": 100,
    "batch_size": 2,
    "exclude_prompt_from_response": False,
    "seed": 7,
    "temperature": 0.7,
    "top_p": 0.9,
    "frequency_penalty": 0.5,
    "presence_penalty": 1.5,
    "stop_strings": ["</s>"],
    "stop_token_ids": [2],
    "logit_bias": {50256: -100, "11": 1.5},
    "min_p": 0.1,
    "use_cache": False,
    "num_beams": 2,
    "use_sampling": True,
    "guided_decoding": {"choice": ["good", "bad"], "strict": True},
    "skip_special_tokens": False,
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "extra_body": {"top_k": 5},
}


def key(
    engine: type[BaseInferenceEngine] = RemoteInferenceEngine,
    conversation: Conversation = HELLO,
    model: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    remote: dict[str, Any] | None = None,
) -> str:
    """The key of a row, in hex."""
    keys = RowKeys(
        str(engine.engine_type),
        ModelParams.model_validate(model or {"model_name": "m"}),
        GenerationParams.model_validate(generation or {}),
        RemoteParams.model_validate(remote) if remote is not None else None,
        unhashed_model_kwargs=engine.unhashed_model_kwargs,
    )
    return keys(conversation).hex()


def guided(**params: Any) -> dict[str, Any]:
    return {"generation": {"guided_decoding": params}}


def llama_cpp(**options: Any) -> dict[str, Any]:
    return {"engine": LlamaCppInferenceEngine, "model": {"model_name": "m.gguf", "model_kwargs": options}}


def vllm(**options: Any) -> dict[str, Any]:
    return {"engine": VLLMInferenceEngine, "model": {"model_name": "owner/m", "model_kwargs": options}}


def transformers(**options: Any) -> dict[str, Any]:
    return {"engine": NativeTextInferenceEngine, "model": {"model_name": "owner/m", "model_kwargs": options}}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "defaults": ({}, "9bea3da7e5be67bb76d34d54c790dd99"),
    "url": ({"remote": API}, "de90396621f45ce12a4f3d9ccb78d4ca"),
    "bad url": ({"remote": {"api_url": "http://[::1"}}, "d39e1e942ffa297e33153b40965731cf"),
    "no url": ({"engine": OpenAIInferenceEngine, "remote": {"num_workers": 3}}, "2b3503698a36414ac5f09f6c4c7b628d"),
    "talk": ({"conversation": TALK, "remote": API}, "d1f3e7f5c4b55dd264e36ad0a671b4dc"),
    "image": ({"conversation": IMAGE}, "cd46ea4c7ece935c5390ae74c0bb15a2"),
    "every model parameter": (
        {"model": EVERY_MODEL_PARAM, "engine": NativeTextInferenceEngine},
        "16ab789884ccc213509fbdfee89dfe00",
    ),
    "every generation parameter": ({"generation": EVERY_GENERATION_PARAM}, "58346cf4e9ec590514d1e17d0a4c42c1"),
    "everything": (
        {"model": EVERY_MODEL_PARAM, "generation": EVERY_GENERATION_PARAM, "remote": API, "conversation": TALK},
        "d3d0c3d5b6cde90b05eac754f5ac911e",
    ),
    "schema": (guided(json=SCHEMA), "80e3e289b9165bb54a9008bda6289944"),
    "schema as text": (guided(json='{"type": "object"}', strict=True), "5c0ac2615c5fdaad1da2efd19d7fb013"),
    "regex": (guided(regex="[a-z]+"), "14aae8acea51796bbcc70fc48a45e323"),
    "choice": (guided(choice=["a", "b"]), "26624867129d8515760e4d6ceb22c640"),
    "guided decoding without a constraint": (guided(), "7da06fc18facea6b6eee8cb02f10abf2"),
    "llama.cpp": (llama_cpp(), "33f379e35ee09f02709d94cedd287e76"),
    "llama.cpp options": (llama_cpp(**LLAMA_CPP_OPTIONS), "c4b0c8225c0eed8578ad92e4a360a4ea"),
    "vLLM": (vllm(), "44eb9b7fbf732c7f6a10367de058356a"),
    "vLLM options": (vllm(**VLLM_OPTIONS), "7b87b68d6a35a7cc79ccf42aaa803b7a"),
    "Transformers": (transformers(), "058065506b73b7899a08e5fdd4a27a37"),
    "Transformers options": (transformers(**TRANSFORMERS_OPTIONS), "dc85efe532563dbd627e4c15a5f92ae5"),
    "Bedrock's own fields": (
        {"engine": BedrockInferenceEngine, "model": {"model_name": "m", "model_kwargs": {"top_k": 5}}},
        "4a0daf7bbf3f0fd82637dbd0b2075669",
    ),
}


@pytest.mark.parametrize(("settings", "recorded"), CASES.values(), ids=CASES)
def test_key_is_the_recorded_one(settings: dict[str, Any], recorded: str) -> None:
    assert key(**settings) == recorded


def test_name_of_a_run_is_the_recorded_one() -> None:
    keys = RowKeys("REMOTE", ModelParams(model_name="m"), GenerationParams(), RemoteParams.model_validate(API))
    assert keys.run_hash(keys(HELLO) + keys(TALK)) == "f1886c7e17e19731a40dbca21055724e"


def test_key_with_model_files_is_the_recorded_one() -> None:
    keys = RowKeys("VLLM", ModelParams(model_name="m"), GenerationParams(), files=[("model_name", "m", 1, 2)])
    assert keys(HELLO).hex() == "faa55da24759105742ee5c036956d4a2"
