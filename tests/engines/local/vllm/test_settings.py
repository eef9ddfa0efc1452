"""Settings are converted to arguments of vLLM. Needs no vLLM."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.fifo_lock import FifoLock
from asyncinfer.engines.local.structured.structure import Structure, structure_of
from asyncinfer.engines.local.vllm import args as vllm_args
from asyncinfer.engines.local.vllm.args import GIB, Host, engine_args
from asyncinfer.engines.local.vllm.sampling import sampling, structured_outputs, with_parameters
from asyncinfer.errors import ConfigError, MissingDependencyError, RequestError

CPU = Host(gpus=0, free_memory=8 * GIB, ranks=(8, 16, 64), quantizations=("awq", "bitsandbytes", "gguf", "mxfp4"))
GPUS = CPU.__class__(gpus=4, free_memory=8 * GIB, ranks=CPU.ranks, quantizations=CPU.quantizations)


def args(host: Host = GPUS, **model: Any) -> dict[str, Any]:
    return engine_args(ModelParams.model_validate({"model_name": "owner/model", **model}), host)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ({}, "model", "owner/model"),
        ({}, "tensor_parallel_size", 4),
        ({"model_kwargs": {"tensor_parallel_size": 2}}, "tensor_parallel_size", 2),
        ({"model_kwargs": {"tensor_parallel_size": -1}}, "tensor_parallel_size", 4),
        ({"model_kwargs": {"pipeline_parallel_size": 2}}, "tensor_parallel_size", 2),
        ({"model_kwargs": {"pipeline_parallel_size": 2}}, "pipeline_parallel_size", 2),
        ({}, "dtype", "auto"),
        ({"torch_dtype_str": "bf16"}, "dtype", "bfloat16"),
        ({"model_max_length": 512}, "max_model_len", 512),
        ({"tokenizer_name": "owner/tokens"}, "tokenizer", "owner/tokens"),
        ({"trust_remote_code": True}, "trust_remote_code", True),
        ({"model_revision": "v2"}, "revision", "v2"),
        ({"model_revision": "v2"}, "tokenizer_revision", "v2"),
        ({"processor_kwargs": {"min_pixels": 4}}, "mm_processor_kwargs", {"min_pixels": 4}),
        ({"load_pretrained_weights": False}, "load_format", "dummy"),
        ({}, "enable_prefix_caching", True),
        ({"model_kwargs": {"enable_prefix_caching": False}}, "enable_prefix_caching", False),
        ({"model_kwargs": {"gpu_memory_utilization": 0.5}}, "gpu_memory_utilization", 0.5),
        ({"model_kwargs": {"max_num_seqs": 3}}, "max_num_seqs", 3),
        ({"model_kwargs": {"quantization": "awq"}}, "quantization", "awq"),
        ({"model_kwargs": {"load_in_4bit": True}}, "quantization", "bitsandbytes"),
        ({"model_kwargs": {"load_in_8bit": True}}, "load_format", "bitsandbytes"),
        ({"model_kwargs": {"quantization_config": {"quant_method": "mxfp4"}}}, "quantization", "mxfp4"),
    ],
)
def test_settings_become_arguments_of_vllm(model: dict[str, Any], name: str, value: object) -> None:
    assert args(**model)[name] == value


def test_options_that_vllm_lacks_are_not_passed() -> None:
    given = args(model_kwargs={"load_in_4bit": True, "tool_call_parser": "hermes", "cache_dir": "x"})
    assert not {"load_in_4bit", "tool_call_parser", "cache_dir"} & given.keys()
    assert "quantization_config" not in args(model_kwargs={"quantization_config": {"quant_method": "mxfp4"}})
    assert args(model_kwargs={"quantization_config": {"linear": "fp8"}})["quantization_config"] == {"linear": "fp8"}


def test_options_of_transformers_are_converted_or_ignored(caplog: pytest.LogCaptureFixture) -> None:
    spelled = {"device_map": "auto", "torch_dtype": "bfloat16", "low_cpu_mem_usage": True}
    quantised = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "llm_int8_threshold": 5.0}
    params = ModelParams(model_name="owner/model", model_kwargs=spelled | quantised)
    with caplog.at_level("DEBUG", "asyncinfer"):
        vllm_args.check_options(params.model_kwargs, set())
    assert [name for name in (*spelled, *quantised) if name in caplog.text] == [
        "low_cpu_mem_usage",
        "bnb_4bit_quant_type",
        "llm_int8_threshold",
    ]
    given = engine_args(params, GPUS)
    assert (given["dtype"], given["quantization"]) == ("bfloat16", "bitsandbytes")
    assert not given.keys() & (spelled.keys() | quantised.keys())


def test_defaults_without_a_gpu_use_little_memory() -> None:
    given = args(CPU)
    assert (given["dtype"], given["enforce_eager"], given["tensor_parallel_size"]) == ("float32", True, 1)
    assert (given["kv_cache_memory_bytes"], given["max_model_len"]) == (2 * GIB, -1)
    set_by_user = args(CPU, torch_dtype_str="bfloat16", model_kwargs={"gpu_memory_utilization": 0.3})
    assert set_by_user["dtype"] == "bfloat16"
    assert not {"kv_cache_memory_bytes", "max_model_len"} & set_by_user.keys()
    assert not {"enforce_eager", "kv_cache_memory_bytes"} & args(GPUS).keys()


def test_gguf_file_needs_a_tokenizer_and_support_in_vllm(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    given = args(model_name=str(file), tokenizer_name="owner/model")
    assert (given["model"], given["quantization"]) == (str(file), "gguf")
    with pytest.raises(ConfigError, match="tokenizer_name"):
        args(model_name=str(file))
    with pytest.raises(ConfigError, match="LLAMACPP"):
        args(Host(0, GIB, (8,), ()), model_name=str(file), tokenizer_name="owner/model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_num_seq": 1}, "did you mean 'max_num_seqs'"),
        ({"load_in_4bits": True}, "did you mean 'load_in_4bit'"),
        ({"xyzzy": 1}, "EngineArgs"),
        ({"model": "other"}, "model.model_name"),
        ({"tokenizer": "other"}, "model.tokenizer_name"),
    ],
)
def test_error_for_an_unknown_option_names_the_most_similar_one(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vllm_args.check_options(options, {"max_num_seqs", "model", "tokenizer"})


def test_error_for_an_unknown_quantisation_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no 'awk'; it has: awq, bits"):
        args(model_kwargs={"quantization": "awk"})


def adapter(folder: Path, **config: Any) -> str:
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


def test_rank_of_an_adapter_is_read(tmp_path: Path) -> None:
    given = args(adapter_model=adapter(tmp_path, r=4))
    assert (given["enable_lora"], given["max_lora_rank"]) == (True, 8)
    assert args(adapter_model=adapter(tmp_path, r=4, rank_pattern={"q_proj": 17}))["max_lora_rank"] == 64
    with pytest.raises(ConfigError, match="its rank is 65, and vLLM supports at most 64"):
        args(adapter_model=adapter(tmp_path, r=65))
    with pytest.raises(ConfigError, match="contains no rank"):
        args(adapter_model=adapter(tmp_path, peft_type="LORA"))


def test_missing_adapter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no adapter_config.json"):
        vllm_args.check_adapter(str(tmp_path))
    with pytest.raises(ConfigError, match="neither a folder nor a hub repository"):
        vllm_args.check_adapter("/nowhere/at/all")


def test_missing_vllm_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncinfer.engines.local.vllm import engine as vllm

    monkeypatch.setattr(vllm, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"asyncinfer\[vllm\]"):
        vllm.VLLMInferenceEngine(ModelParams(model_name="owner/model"))


def test_generation_params_become_sampling_params() -> None:
    generation = GenerationParams(
        max_new_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        repetition_penalty=1.5,
        seed=-1,
        frequency_penalty=1.0,
        presence_penalty=-1.0,
        stop_strings=["END", ""],
        stop_token_ids=[7],
        logit_bias={"5": 2.0},
        skip_special_tokens=False,
    )
    assert sampling(generation, 60, []) == {
        "max_tokens": 60,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.1,
        "repetition_penalty": 1.5,
        "frequency_penalty": 1.0,
        "presence_penalty": -1.0,
        "seed": 2**63 - 1,
        "stop": ["END"],
        "stop_token_ids": [7],
        "skip_special_tokens": False,
        "logit_bias": {5: 2.0},
        "logprobs": None,
    }
    plain = sampling(GenerationParams(), 10**6, [])
    assert (plain["max_tokens"], plain["top_p"], plain["seed"], plain["logit_bias"]) == (1024, 1.0, None, None)
    assert sampling(GenerationParams(temperature=1e-6), 1, [])["temperature"] == 0.0
    assert sampling(GenerationParams(temperature=None), 1, [])["temperature"] == 1.0
    with pytest.raises(RequestError, match="token ids"):
        sampling(GenerationParams(logit_bias={"word": 1.0}), 1, [])


@pytest.mark.parametrize(
    ("guided", "expected"),
    [
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"json": '{"type": "object"}'}, {"json": {"type": "object"}}),
        ({}, None),
    ],
)
def test_guided_decoding_becomes_structured_outputs(guided: dict[str, Any], expected: object) -> None:
    structure = structure_of(GenerationParams.model_validate({"guided_decoding": guided}), [])
    assert (structure and structured_outputs(structure)) == expected


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]


def required_call(choice: Any, tools: list[dict[str, Any]] = TOOLS) -> Structure | None:
    return structure_of(GenerationParams(tool_choice=choice), tools)


def test_required_call_has_the_schemas_of_the_tools() -> None:
    assert required_call("auto") is required_call(None) is required_call("required", []) is None
    both, one = required_call("required"), required_call({"type": "function", "function": {"name": "b"}})
    assert both is not None
    assert one is not None
    tags = [json.loads(structured_outputs(made)["structural_tag"])["format"] for made in (both, one)]
    assert [len(tag["content"]["json_schema"]["oneOf"]) for tag in tags] == [2, 1]
    assert tags[0]["begin"] == "<tool_call>\n"
    with pytest.raises(RequestError, match="names none of the tools: a, b"):
        required_call({"function": {"name": "c"}})


def test_tools_get_the_parameters_of_the_structure() -> None:
    structure = required_call({"function": {"name": "b"}})
    assert structure is not None
    schema = (structure.schema or "").replace('"arguments": {"type": "object"}', '"arguments": {"type": "array"}')
    shown = with_parameters(TOOLS, structure._replace(schema=schema))
    assert [tool["function"]["parameters"] for tool in shown] == [{"type": "object"}, {"type": "array"}]


def test_fifo_lock_is_acquired_in_order() -> None:
    lock, order = FifoLock(), list[int]()

    def acquire(number: int) -> None:
        with lock:
            order.append(number)

    with lock:
        threads = list[threading.Thread]()
        for number in range(4):
            threads.append(threading.Thread(target=acquire, args=(number,)))
            threads[-1].start()
            while len(lock._waiting) <= number:
                pass
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]
    with lock:
        pass
