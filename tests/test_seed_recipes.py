"""Oumi's recipes for inference work here unchanged, and mean the same.

`tests/data/oumi_recipes.json` holds the keys and values of all 134 configurations for inference in Oumi's repository
(August 2026), by the path of the file. Each is run: those of APIs against a server that records the request, those of
models in this process up to the arguments that the library gets. Of the libraries, only llama.cpp must be installed,
which checks its options itself.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from asyncinfer import InferenceConfig, build_engine
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.llama_cpp import engine as llama_engine
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.engines.local.transformers import engine as native_engine
from asyncinfer.engines.local.transformers import load as native_load
from asyncinfer.engines.local.transformers.engine import NativeTextInferenceEngine
from asyncinfer.engines.local.transformers.row import settings_of
from asyncinfer.engines.local.transformers.sampling import sampling_in_effect
from asyncinfer.engines.local.vllm import args as vllm_args
from asyncinfer.engines.local.vllm import engine as vllm_engine
from asyncinfer.engines.local.vllm.args import GIB, Host, engine_args
from asyncinfer.engines.local.vllm.engine import VLLMInferenceEngine
from asyncinfer.engines.local.vllm.sampling import sampling
from asyncinfer.providers.catalog import CATALOG
from tests.fakes import question
from tests.recorder import Recorder

Json = dict[str, Any]
RECIPES: dict[str, Json] = json.loads((Path(__file__).parent / "data" / "oumi_recipes.json").read_text())
LOCAL = ("LLAMACPP", "NATIVE", "VLLM")
REMOTE = [name for name, recipe in RECIPES.items() if recipe.get("engine", "NATIVE") not in LOCAL]
# Where a request differs from Oumi's, and why. Everything else is sent as Oumi sends it.
# - OPENAI: these models refuse sampling parameters. Their recipes set the temperature to 1, which is their only one, so
#   it is left out.
# - SGLANG: requests go to the OpenAI endpoint of the server, not to `/generate`, so they hold messages and no prompt.
# - Engines in this process: fields for other engines have no effect (`attn_implementation` on VLLM).
WITHOUT_TEMPERATURE = ("o1", "o3", "gpt-5")
# The model decides the path and the region in these URLs.
PLACES = {"{REGION}": "r", "{PROJECT_ID}": "p"}


def of_engine(name: str) -> list[str]:
    return [recipe for recipe, facts in RECIPES.items() if facts.get("engine", "NATIVE") == name]


def config_of(name: str, *overrides: str) -> InferenceConfig:
    return InferenceConfig.from_str(json.dumps(RECIPES[name]), overrides)


def generation_of(name: str, key: str, default: Any) -> Any:
    return RECIPES[name].get("generation", {}).get(key, default)


def test_every_recipe_is_tried() -> None:
    counts = Counter("remote" if name in REMOTE else RECIPES[name].get("engine", "NATIVE") for name in RECIPES)
    assert counts == {"remote": 43, "NATIVE": 52, "VLLM": 31, "LLAMACPP": 8}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_loaded_with_all_its_values(name: str) -> None:
    config = config_of(name).model_dump(mode="json", exclude_unset=True)
    for group in ("model", "generation", "remote_params"):
        assert config.get(group, {}).keys() == RECIPES[name].get(group, {}).keys()
    assert config["model"]["model_name"] == RECIPES[name]["model"]["model_name"]


# Behind an API


def served_by(api: Recorder, name: str) -> InferenceConfig:
    """The configuration, with the host of its URL replaced by the recording server."""
    config = config_of(name)
    provider = CATALOG[str(config.engine)]
    url = (config.remote_params.api_url if config.remote_params is not None else None) or provider.url or ""
    for placeholder, value in PLACES.items():
        url = url.replace(placeholder, value)
    served = urlsplit(url)._replace(scheme="http", netloc=urlsplit(api.url).netloc).geturl()
    return config_of(name, f"remote_params.api_url={served}", "remote_params.api_key=k")


@pytest.mark.parametrize("name", REMOTE)
async def test_request_has_the_values_of_the_recipe(name: str) -> None:
    recipe = RECIPES[name]
    async with Recorder() as api:
        config = served_by(api, name)
        async with build_engine(config) as engine:
            [answered] = await engine.ainfer([question("Hello?")], config)
    assert answered.messages[-1].content == "Hello."
    [sent] = api.sent
    assert sent.path.endswith("/messages" if recipe["engine"] == "ANTHROPIC" else "/chat/completions")
    assert sent.body["model"] == recipe["model"]["model_name"]
    assert sent.body["messages"] == [{"role": "user", "content": "Hello?"}]
    limit = sent.body.get("max_tokens", sent.body.get("max_completion_tokens"))
    assert limit == generation_of(name, "max_new_tokens", 1024)
    refuses = recipe["engine"] == "OPENAI" and recipe["model"]["model_name"].startswith(WITHOUT_TEMPERATURE)
    assert sent.body.get("temperature") == (None if refuses else generation_of(name, "temperature", 0.0))
    assert sent.body.get("top_p") == generation_of(name, "top_p", None)


# In this process


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that has every file that is asked for. Each adapter has rank 8."""
    wanted = {recipe["model"].get("model_kwargs", {}).get("filename") for recipe in RECIPES.values()} - {None}

    def download(repo: str, file: str, **_: Any) -> str:
        path = tmp_path / repo / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"r": 8}')
        return str(path)

    module: Any = ModuleType("huggingface_hub")
    module.list_repo_files = lambda repo, **_: sorted(wanted)
    module.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    for needs_packages in (gguf, llama_engine, native_engine, native_load, vllm_engine):
        monkeypatch.setattr(needs_packages, "find_spec", lambda _: True)


QUANTIZATIONS = ("bitsandbytes", "gguf", "mxfp4")
HOST = Host(gpus=2, free_memory=8 * GIB, ranks=(8, 16), quantizations=QUANTIZATIONS)
DTYPES = {"auto": "auto", "bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}


@pytest.mark.usefixtures("hub")
class TestVllm:
    @pytest.mark.parametrize("name", of_engine("VLLM"))
    def test_arguments_are_those_of_oumi(self, name: str) -> None:
        model, config = RECIPES[name]["model"], config_of(name)
        engine = build_engine(config)
        assert type(engine) is VLLMInferenceEngine
        vllm_args.check_options(engine._model_params.model_kwargs, {"max_num_seqs", "quantization_config"})
        passed, options = engine_args(engine._model_params, HOST), model.get("model_kwargs", {})
        file = options.get("filename")
        assert passed["model"].endswith(file or model["model_name"])
        assert passed.get("tokenizer") == model.get("tokenizer_name")
        assert passed["trust_remote_code"] == model.get("trust_remote_code", False)
        assert passed["dtype"] == DTYPES[model.get("torch_dtype_str", "auto")]
        assert passed.get("max_model_len") == model.get("model_max_length")
        assert passed["tensor_parallel_size"] == 2
        assert passed.get("enable_lora", False) is bool(model.get("adapter_model"))
        assert passed.get("max_num_seqs") == options.get("max_num_seqs")
        method = options.get("quantization_config", {}).get("quant_method")
        assert passed.get("quantization") == ("gguf" if file else method)

    @pytest.mark.parametrize("name", of_engine("VLLM"))
    def test_sampling_is_that_of_oumi(self, name: str) -> None:
        passed = sampling(config_of(name).generation, room=10**6, tools=[])
        assert passed["max_tokens"] == generation_of(name, "max_new_tokens", 1024)
        assert passed["temperature"] == generation_of(name, "temperature", 0.0)
        assert passed["top_p"] == generation_of(name, "top_p", 1.0)
        for key in ("min_p", "presence_penalty"):
            assert passed[key] == generation_of(name, key, 0.0)
        assert passed["skip_special_tokens"] == generation_of(name, "skip_special_tokens", True)


class _Loader:
    """A class of Transformers, of which `from_pretrained` notes its arguments."""

    def __init__(self, result: Any) -> None:
        self.result, self.called = result, {}

    def from_pretrained(self, name: str, **options: Any) -> Any:
        self.called = {"name": name, **options}
        return self.result


class _Model:
    """A model that was loaded."""

    config = SimpleNamespace(is_encoder_decoder=False)
    active_peft_config = SimpleNamespace(is_prompt_learning=False)

    def named_parameters(self) -> list[tuple[str, object]]:
        return []

    def generate(self) -> None: ...

    def eval(self) -> None: ...

    def get_base_model(self) -> _Model:
        return self


class TestNative:
    @pytest.fixture
    def transformers(self, hub: None, monkeypatch: pytest.MonkeyPatch) -> Any:
        module: Any = ModuleType("transformers")
        model = _Model()
        module.AutoConfig = _Loader(model.config)
        module.AutoTokenizer = _Loader(SimpleNamespace(pad_token=None))
        module.AutoModelForCausalLM = _Loader((model, {"missing_keys": set()}))
        module.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING = module.MODEL_FOR_CAUSAL_LM_MAPPING = {}
        module.GgufConfig = dict
        peft: Any = ModuleType("peft")
        peft.PeftModel = SimpleNamespace(from_pretrained=lambda model, path: model)
        monkeypatch.setitem(sys.modules, "transformers", module)
        monkeypatch.setitem(sys.modules, "peft", peft)
        return module

    @pytest.mark.parametrize("name", of_engine("NATIVE"))
    def test_arguments_are_those_of_oumi(self, name: str, transformers: Any) -> None:
        model = RECIPES[name]["model"]
        engine = build_engine(config_of(name))
        assert type(engine) is NativeTextInferenceEngine
        native_load.load(engine._model_params)
        passed = transformers.AutoModelForCausalLM.called
        assert passed["name"] == model["model_name"]
        assert passed["trust_remote_code"] == model.get("trust_remote_code", False)
        assert passed["dtype"] == DTYPES[model.get("torch_dtype_str", "auto")]
        assert passed["device_map"] == model.get("device_map", "auto")
        assert passed.get("attn_implementation") == model.get("attn_implementation")
        assert transformers.AutoTokenizer.called["name"] == model.get("tokenizer_name", model["model_name"])
        assert transformers.AutoTokenizer.result.pad_token == model.get("tokenizer_pad_token")

    @pytest.mark.parametrize("name", of_engine("NATIVE"))
    def test_sampling_is_that_of_oumi(self, name: str) -> None:
        passed = settings_of(sampling_in_effect(config_of(name).generation))
        samples = generation_of(name, "use_sampling", False)
        assert passed.temperature == (generation_of(name, "temperature", 0.0) if samples else 0.0)
        assert passed.batch_size == generation_of(name, "batch_size", None)

    def test_recipe_without_an_engine_is_native(self, transformers: Any) -> None:
        [name] = [name for name, recipe in RECIPES.items() if "engine" not in recipe]
        assert type(build_engine(config_of(name))) is NativeTextInferenceEngine


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="needs the extra llamacpp")
@pytest.mark.usefixtures("hub")
class TestLlamaCpp:
    @pytest.mark.parametrize("name", of_engine("LLAMACPP"))
    def test_file_and_context_are_those_of_oumi(self, name: str) -> None:
        model = RECIPES[name]["model"]
        engine = build_engine(config_of(name))
        assert type(engine) is LlamaCppInferenceEngine
        assert str(engine._path()).endswith(f"{model['model_name']}/{model['model_kwargs']['filename']}")
        settings = llama_engine._settings(engine._model_params)
        assert settings.get("n_ctx") == model.get("model_max_length")
        assert "filename" not in settings
