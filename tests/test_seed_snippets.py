"""The code blocks of Oumi's guide to inference, and the inference cells of its notebooks, work here.

Each test calls the names of one block with the arguments of that block (August 2026). Only imports differ. The first
page of the guide is in `test_seed_guide.py`, on real models. Here, remote engines talk to a recording server, and the
libraries of local engines are replaced.

Counts. The four other pages of the guide have 71 blocks of code. 59 run here; 11 concern other programs (`pip install`,
`vllm serve` and the like), and need nothing here. 1 block does not run: it reads `message.usage`. Neither Oumi's messages
nor ours have this field. Usage is in `conversation.metadata`.

Of the notebooks, 10 have 33 cells about inference: A Tour (3), Finetuning (4), Custom Evaluation (1), Bulk Inference (4),
Distill (4), AlpacaEval (2), vLLM (5), Vision Language Models (6), and HallOumi, inference (3) and evaluation (1). The
names and arguments of all of them run here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from pydantic import BaseModel

from asyncinfer import (
    AnthropicInferenceEngine,
    BatchStatus,
    ContentItem,
    Conversation,
    FinishReason,
    GenerationParams,
    GoogleVertexInferenceEngine,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    LlamaCppInferenceEngine,
    Message,
    ModelParams,
    NativeTextInferenceEngine,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RemoteVLLMInferenceEngine,
    Role,
    SGLangInferenceEngine,
    Type,
    VLLMInferenceEngine,
    build_engine,
    build_inference_engine,
    infer,
)
from asyncinfer.config import parse_cli_overrides
from asyncinfer.engines import hosted
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.llama_cpp import engine as llama_engine
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit
from asyncinfer.engines.local.transformers import engine as native_engine
from asyncinfer.engines.local.transformers import load as native_load
from asyncinfer.engines.local.vllm import engine as vllm_engine
from asyncinfer.engines.local.vllm.args import GIB, Host, engine_args
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.answer import Completion
from tests.batch.server import BatchServer, Faults
from tests.conftest import BlockWatch
from tests.recorder import CHAT, SUCCESS, Recorder

HOST = Host(gpus=4, free_memory=8 * GIB, ranks=(8, 16), quantizations=("gguf",))
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


class EchoStepper:
    """A model that answers each row with `answer to <question>`, and keeps the requests."""

    slots = 4

    def __init__(self) -> None:
        self.waiting: dict[int, Request] = {}
        self.requests: list[Request] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting)

    def prepare(self, request: Request) -> Request:
        return request

    def add(self, row: int, request: Request) -> None:
        self.waiting[row] = request
        self.requests.append(request)

    def step(self, emit: Emit) -> None:
        row, request = self.waiting.popitem()
        text = request.conversation.messages[-1].compute_flattened_text_content()
        emit(row, Completion(Message(role=Role.ASSISTANT, content=f"answer to {text}"), FinishReason.STOP))

    def abort(self, row: int) -> None:
        self.waiting.pop(row, None)

    def close(self) -> None: ...


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> EchoStepper:
    """The model of every engine in this process."""
    model = EchoStepper()
    for module in (gguf, llama_engine, native_engine, native_load, vllm_engine):
        monkeypatch.setattr(module, "find_spec", lambda _: True)
    for kind in (VLLMInferenceEngine, NativeTextInferenceEngine, LlamaCppInferenceEngine):
        monkeypatch.setattr(kind, "_load", lambda _: model)
    return model


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorder]:
    """The server at the URL of every provider."""
    async with Recorder() as api:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
            monkeypatch.setenv(name, "sk-1")
        yield api


def user(text: str) -> Conversation:
    return Conversation(messages=[Message(role=Role.USER, content=text)])


def answer(conversations: list[Conversation]) -> object:
    return conversations[0].messages[-1].content


def said(conversation: Conversation) -> object:
    """What the notebooks read of an answer."""
    last = conversation.last_message()
    return None if last is None else last.content


async def in_thread(call: Callable[[], Any]) -> Any:
    """What a blocking call returns, while the server runs on this loop."""
    return await anyio.to_thread.run_sync(call)


# Common workflows


class TestCommonWorkflows:
    def test_chat_completion(self, model: EchoStepper) -> None:
        engine = VLLMInferenceEngine(
            model_params=ModelParams.model_validate({"model_name": LLAMA, "torch_dtype": "bfloat16"})
        )
        messages = [Message(role=Role.SYSTEM, content="Be helpful."), Message(role=Role.USER, content="How?")]
        config = InferenceConfig(generation=GenerationParams(max_new_tokens=512, temperature=0.7, top_p=0.9))
        assert answer(engine.infer([Conversation(messages=messages)], config)) == "answer to How?"
        [request] = model.requests
        assert (request.generation.max_new_tokens, request.generation.top_p) == (512, 0.9)
        assert request.model.torch_dtype_str == "bfloat16"

    async def test_structured_outputs(self, api: Recorder) -> None:
        class ProductInfo(BaseModel):
            name: str
            price: float

        body = json.loads(json.dumps(SUCCESS))
        body["choices"][0]["message"]["content"] = '{"name": "phone", "price": 999}'
        api.answers(body)
        config = InferenceConfig(
            model=ModelParams(model_name="gpt-4o-mini"),
            generation=GenerationParams(
                max_new_tokens=512,
                temperature=0,
                guided_decoding=GuidedDecodingParams(json=ProductInfo.model_json_schema()),
            ),
            remote_params=RemoteParams(api.url),
        )
        engine = OpenAIInferenceEngine(model_params=config.model, remote_params=config.remote_params)
        result = await in_thread(lambda: engine.infer([user("Extract.")], inference_config=config))
        assert ProductInfo.model_validate_json(str(answer(result))).price == 999
        assert api.sent[0].body["response_format"]["json_schema"]["schema"]["properties"].keys() == {"name", "price"}

    async def test_parallel_workers(self, api: Recorder) -> None:
        config = InferenceConfig(
            model=ModelParams(model_name="gpt-4"),
            remote_params=RemoteParams(api.url, max_retries=3, num_workers=4, politeness_policy=0.01),
        )
        engine = OpenAIInferenceEngine(model_params=config.model, remote_params=config.remote_params)
        assert len(await in_thread(lambda: engine.infer([user("a"), user("b")], config))) == 2

    async def test_batch_jobs_with_a_config(self, monkeypatch: pytest.MonkeyPatch, block_watch: BlockWatch) -> None:
        block_watch.off()  # The server reads files on this loop.
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        async with BatchServer() as server:
            config = InferenceConfig(
                model=ModelParams(model_name="gpt-4"),
                remote_params=RemoteParams(server.url, batch_completion_window="24h"),
            )
            engine = OpenAIInferenceEngine(model_params=config.model, remote_params=config.remote_params)
            conversations = [user("What is 2+2?"), user("What is the capital of France?")]
            batch_id = await in_thread(lambda: engine.infer_batch(conversations, config))
            status = await in_thread(lambda: engine.get_batch_status(batch_id, config))
            assert f"Progress: {status.completed_requests}/{status.total_requests}" == "Progress: 2/2"
            results = await in_thread(lambda: engine.get_batch_results(batch_id, conversations, config))
        answers = [(conv.messages[-2].content, conv.messages[-1].content) for conv in results]
        assert answers[0] == ("What is 2+2?", "answer to What is 2+2?")

    async def test_batch_jobs(self, monkeypatch: pytest.MonkeyPatch, block_watch: BlockWatch) -> None:
        block_watch.off()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        async with BatchServer(Faults(slow_polls=2)) as server:
            engine = OpenAIInferenceEngine(
                model_params=ModelParams(model_name="gpt-4o-mini"), remote_params=RemoteParams(server.url)
            )
            conversations = [user("Hello!"), user("How are you?")]
            batch_id = await in_thread(lambda: engine.infer_batch(conversations))
            assert (await in_thread(lambda: engine.get_batch_status(batch_id))).status.value == "in_progress"
            assert (await in_thread(lambda: engine.get_batch_status(batch_id))).status.value == "completed"
            assert len(await in_thread(lambda: engine.get_batch_results(batch_id, conversations))) == 2
            batch_info = await in_thread(lambda: engine.cancel_batch(batch_id))
            assert f"Status: {batch_info.status}" == "Status: completed"
            partial = await in_thread(lambda: engine.get_batch_results_partial(batch_id, conversations))
            assert (len(partial.conversations), [failure.index for failure in partial.failures]) == (2, [])

    def test_states_of_batch_jobs(self) -> None:
        states = ("VALIDATING", "IN_PROGRESS", "COMPLETED", "FAILED", "EXPIRED", "CANCELLED")
        assert [BatchStatus[name].value for name in states] == [name.lower() for name in states]

    def test_lora_adapter(self, model: EchoStepper, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text('{"r": 8}')
        settings = {"model_name": LLAMA, "adapter_model": str(tmp_path), "torch_dtype_str": "bfloat16"}
        text = json.dumps({"model": settings, "generation": {"max_new_tokens": 256}, "engine": "VLLM"})
        config = InferenceConfig.from_str(text)
        for engine in (VLLMInferenceEngine(ModelParams(**settings)), build_engine(config)):
            assert answer(engine.infer([user("What?")], config)) == "answer to What?"
            assert engine_args(engine._model_params, HOST)["max_lora_rank"] == 8

    @pytest.mark.parametrize("name", ["adapter-v1", "adapter-v2"])
    async def test_adapter_of_a_server(self, api: Recorder, name: str) -> None:
        engine = RemoteVLLMInferenceEngine(
            model_params=ModelParams(model_name=name), remote_params=RemoteParams(api_url=api.url)
        )
        await in_thread(lambda: engine.infer([user("a")]))
        assert api.sent[0].body["model"] == name


# Configuration, and the command line

CONFIGURATIONS = {
    "basic": """
model:
  model_name: "meta-llama/Llama-3.1-8B-Instruct"
  trust_remote_code: true
  model_kwargs: {device_map: "auto", torch_dtype: "float16"}
generation: {max_new_tokens: 100, temperature: 0.7, top_p: 0.9, batch_size: 1}
engine: "VLLM"
remote_params: {api_url: "https://api.example.com/v1", api_key: "${API_KEY}", connection_timeout: 20.0}
""",
    "model": """
model:
  model_name: "meta-llama/Llama-3.1-8B-Instruct"
  adapter_model: null
  tokenizer_name: null
  tokenizer_pad_token: null
  tokenizer_kwargs: {}
  model_max_length: null
  load_pretrained_weights: true
  trust_remote_code: false
  torch_dtype_str: "float32"
  device_map: "auto"
  compile: false
  attn_implementation: null
  enable_liger_kernel: false
  chat_template: null
  freeze_layers: []
  model_kwargs: {}
engine: VLLM
""",
    "generation": """
model: {model_name: "meta-llama/Llama-3.1-8B-Instruct"}
generation:
  max_new_tokens: 256
  batch_size: 1
  exclude_prompt_from_response: true
  seed: null
  temperature: 0.0
  top_p: 1.0
  frequency_penalty: 0.0
  presence_penalty: 0.0
  stop_strings: null
  stop_token_ids: null
  logit_bias: {}
  min_p: 0.0
  use_cache: false
  num_beams: 1
  use_sampling: false
  guided_decoding: null
  skip_special_tokens: true
engine: VLLM
""",
    "remote and paths": """
model: {model_name: "meta-llama/Llama-3.1-8B-Instruct"}
engine: VLLM
remote_params:
  api_url: "https://api.example.com/v1"
  api_key: "your-api-key"
  api_key_env_varname: null
  max_retries: 3
  connection_timeout: 20.0
  num_workers: 1
  politeness_policy: 0.0
  batch_completion_window: "24h"
  use_adaptive_concurrency: True
input_path: null
output_path: null
""",
}


class TestConfiguration:
    @pytest.mark.parametrize("name", CONFIGURATIONS)
    def test_configuration_answers(self, name: str, model: EchoStepper, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_KEY", "sk-1")
        config = InferenceConfig.from_str(CONFIGURATIONS[name])
        config.finalize_and_validate()
        assert answer(build_engine(config).infer([user("a")], config)) == "answer to a"

    def test_lines_of_a_file_are_conversations(self, model: EchoStepper, tmp_path: Path) -> None:
        texts = ["Hello!", "How are you?"]
        lines = [json.dumps({"messages": [{"role": "user", "content": text}]}) + "\n" for text in texts]
        (tmp_path / "in.jsonl").write_text("".join(lines))
        config = InferenceConfig.from_str(
            CONFIGURATIONS["basic"].replace("${API_KEY}", "sk-1"),
            [f"input_path={tmp_path / 'in.jsonl'}", f"output_path={tmp_path / 'out.jsonl'}"],
        )
        infer(config)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [[message["content"] for message in row["messages"]] for row in rows] == [
            [text, f"answer to {text}"] for text in texts
        ]

    @pytest.mark.parametrize(
        "arguments",
        [
            "--model.device_map cuda:0",
            "--model.device_map cuda:0,cuda:1",
            "--generation.batch_size 32 --input_path dataset.jsonl --output_path results.jsonl",
            "--model.model_kwargs.tensor_parallel_size 4",
            "--engine VLLM --model.model_name meta-llama/Llama-3.2-1B-Instruct",
        ],
    )
    def test_arguments_of_the_command_line_are_settings(self, arguments: str, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(CONFIGURATIONS["model"])
        given = arguments.split()
        config = InferenceConfig.from_yaml_and_arg_list(str(path), parse_cli_overrides(given))
        values: Any = config.model_dump(mode="json")
        for name, value in zip(given[::2], given[1::2], strict=True):
            found = values
            for part in name.removeprefix("--").split("."):
                found = found[part]
            assert str(found) == value


# Engines


class TestEngines:
    def test_vllm_options(self, model: EchoStepper) -> None:
        options = {"tensor_parallel_size": 2, "gpu_memory_utilization": 1.0, "enable_prefix_caching": True}
        engine = VLLMInferenceEngine(ModelParams(model_name=LLAMA, model_kwargs=options))
        assert engine_args(engine._model_params, HOST).items() >= options.items()
        assert engine.infer([user("a")])

    @pytest.mark.skipif(find_spec("llama_cpp") is None, reason="needs the extra llamacpp")
    def test_llamacpp_options(self, model: EchoStepper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("model.gguf").touch()
        options = {"n_gpu_layers": 0, "n_ctx": 2048, "n_batch": 512, "low_vram": True}
        engine = LlamaCppInferenceEngine(ModelParams(model_name="model.gguf", model_kwargs=options))
        assert answer(engine.infer([user("a")])) == "answer to a"
        assert llama_engine._settings(engine._model_params).items() >= {"n_ctx": 2048, "n_batch": 512}.items()

    @pytest.mark.parametrize("options", [{"device_map": "auto", "torch_dtype": "float16"}, {"load_in_4bit": True}])
    def test_native_options(self, model: EchoStepper, options: dict[str, Any]) -> None:
        engine = NativeTextInferenceEngine(ModelParams(model_name=LLAMA, model_kwargs=options))
        assert answer(engine.infer([user("a")])) == "answer to a"

    async def test_client_of_a_vllm_server_with_an_adapter(self, api: Recorder) -> None:
        engine = RemoteVLLMInferenceEngine(
            model_params=ModelParams(model_name=LLAMA, adapter_model="my-adapter"),
            remote_params=RemoteParams(api_url=api.url, max_retries=3, num_workers=10),
        )
        await in_thread(lambda: engine.infer([user("a")]))
        assert api.sent[0].body["model"] == "my-adapter"

    @pytest.mark.parametrize("kind", [RemoteVLLMInferenceEngine, SGLangInferenceEngine])
    async def test_url_of_a_server_may_be_the_host_only(self, api: Recorder, kind: type[RemoteInferenceEngine]) -> None:
        engine = kind(
            model_params=ModelParams(model_name=LLAMA),
            remote_params=RemoteParams(api_url=api.url.removesuffix("/v1"), max_retries=3, num_workers=10),
        )
        assert answer(await in_thread(lambda: engine.infer([user("a")]))) == "Hello."
        assert api.sent[0].path == CHAT

    def test_anthropic_with_the_variable_of_the_key(self) -> None:
        AnthropicInferenceEngine(
            model_params=ModelParams(model_name="claude-3-5-sonnet-20240620"),
            remote_params=RemoteParams(api_key_env_varname="ANTHROPIC_API_KEY"),
        )

    async def test_vertex_url_with_placeholders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROJECT_ID", "p")
        monkeypatch.setenv("REGION", "r")
        engine = GoogleVertexInferenceEngine(
            model_params=ModelParams(model_name="google/gemini-1.5-pro"),
            remote_params=RemoteParams(
                api_url="https://{region}-aiplatform.googleapis.com/v1beta1/projects/{project_id}/locations/{region}/"
                "endpoints/openapi/chat/completions",
            ),
        )
        url = (await engine._settings_of(InferenceConfig())).remote.api_url
        assert (url or "").startswith("https://r-aiplatform.googleapis.com/v1beta1/projects/p/locations/r/")

    @pytest.mark.parametrize("name", [name for name, provider in CATALOG.items() if provider.url is not None])
    def test_engine_of_each_provider_needs_only_a_model(self, name: str) -> None:
        kind: type[RemoteInferenceEngine] = getattr(hosted, CATALOG[name].class_name)
        assert kind(model_params=ModelParams(model_name="m")).engine_type == name

    async def test_rows_that_failed_are_sent_again(self, api: Recorder, tmp_path: Path) -> None:
        engine = OpenAIInferenceEngine(ModelParams("m"), remote_params=RemoteParams(api.url, max_retries=0))
        conversations = [user("a"), user("b")]
        api.answers({"error": {"message": "try later"}}, status=500)
        progress = tmp_path / "progress.json"
        result = await in_thread(
            lambda: engine.infer_partial(conversations, InferenceConfig(), progress_path=str(progress))
        )
        assert json.loads(progress.read_text()).items() >= {"total": 2, "completed": 0, "failed": 2}.items()
        details = [result.failures[index] for index in result.failed_indices]
        assert [(detail.error_type.value, detail.status_code) for detail in details] == [("api_status", 500)] * 2
        retried = [conversations[i] for i in result.failed_indices if result.failures[i].is_retryable]
        api.answers(SUCCESS)
        result = await in_thread(lambda: engine.infer_partial(retried))
        contents = [said(conversation) for _, conversation in result.successful]
        assert (contents, result.has_failures) == (["Hello."] * 2, False)

    async def test_models_are_listed(self, api: Recorder) -> None:
        api.answers({"data": [{"id": "gpt-4o"}, {"id": "text-embedding-3-small"}, {"id": "gpt-4"}]})
        engine = OpenAIInferenceEngine(model_params=ModelParams("gpt-4o-mini"), remote_params=RemoteParams(api.url))
        assert await in_thread(engine.list_models) == ["gpt-4", "gpt-4o"]
        every = ["gpt-4", "gpt-4o", "text-embedding-3-small"]
        assert await in_thread(lambda: engine.list_models(chat_only=False)) == every

    async def test_usage_is_in_the_metadata(self, api: Recorder) -> None:
        engine = OpenAIInferenceEngine(ModelParams("m"), remote_params=RemoteParams(api.url))
        [answered] = await in_thread(lambda: engine.infer([user("a")]))
        usage = answered.metadata["usage"]
        assert (usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("cached_tokens")) == (3, 4, None)


# Notebooks


class TestNotebooks:
    def test_tour(self, model: EchoStepper, tmp_path: Path) -> None:
        path = tmp_path / "infer.yaml"
        text = "model: {model_name: owner/tuned, torch_dtype_str: bfloat16}\n"
        path.write_text(f"{text}generation: {{max_new_tokens: 128, batch_size: 1}}\n")
        config = InferenceConfig.from_yaml(str(path))
        assert "answer to a" in str(infer(config=config, inputs=["a"])[0])
        config.model.model_name = "HuggingFaceTB/SmolLM2-135M-Instruct"
        infer(config=config, inputs=["b"])
        assert model.requests[-1].model.model_name == "HuggingFaceTB/SmolLM2-135M-Instruct"

    def test_prompts_of_an_evaluation(self, model: EchoStepper) -> None:
        config = InferenceConfig(
            model=ModelParams(model_name="owner/model", trust_remote_code=True),
            generation=GenerationParams(max_new_tokens=2048, temperature=0.7, top_p=0.9),
        )
        assert [said(c) for c in infer(config, ["a", "b"])] == ["answer to a", "answer to b"]

    @pytest.mark.parametrize("engine", ["NATIVE", "VLLM"])
    def test_halloumi(self, model: EchoStepper, engine: str) -> None:
        config = InferenceConfig.from_str(f"""
model: {{model_name: "oumi-ai/HallOumi-8B", model_max_length: 8192, trust_remote_code: true}}
generation: {{max_new_tokens: 8192, temperature: 0.0}}
engine: {engine}  # Set to VLLM, if you have a CUDA-compatible GPU.
""")
        [result] = infer(config=config, inputs=["a"])
        assert str(said(result)) == "answer to a"

    async def test_halloumi_behind_an_api(self, api: Recorder) -> None:
        config = InferenceConfig.from_str(f"""
model: {{model_name: "halloumi"}}
generation: {{max_new_tokens: 8192, temperature: 0.0}}
remote_params: {{api_url: "{api.url}/chat/completions", max_retries: 3, connection_timeout: 300}}
engine: REMOTE
""")
        [result] = await in_thread(lambda: infer(config=config, inputs=["a"]))
        assert said(result) == "Hello."

    def test_custom_evaluation(self, model: EchoStepper) -> None:
        """An evaluation function gets an engine and conversations, whose metadata hold the label."""
        engine = NativeTextInferenceEngine(ModelParams("owner/model"))
        row = {"conversation_id": "r1", "messages": [{"role": "user", "content": "a"}], "metadata": {"label": 1}}
        [answered] = engine.infer([Conversation.from_dict(row)])
        assert (said(answered), answered.metadata["label"]) == ("answer to a", 1)

    @pytest.mark.parametrize(
        ("engine", "model_name"),
        [("ANTHROPIC", "claude-sonnet-4-20250514"), ("OPENAI", "gpt-4o-mini"), ("GOOGLE_GEMINI", "gemini-2.0-flash")],
    )
    async def test_bulk_inference(self, api: Recorder, engine: str, model_name: str, tmp_path: Path) -> None:
        base = f"{api.url}beta/openai" if engine == "GOOGLE_GEMINI" else api.url
        path = tmp_path / "config.yaml"
        path.write_text(
            f'model: {{model_name: "{model_name}"}}\ngeneration: {{max_new_tokens: 512}}\nengine: "{engine}"\n'
            f"remote_params: {{num_workers: 5, politeness_policy: 0.01, api_url: {base}}}\n"
        )
        config = await in_thread(lambda: InferenceConfig.from_yaml(str(path)))
        built = build_inference_engine(config.engine or "", config.model, config.remote_params)
        generations = await in_thread(lambda: built.infer(input=[user("a"), user("b")], inference_config=config))
        assert [answer([generation]) for generation in generations] == ["Hello."] * 2
        assert api.sent[0].body["model"] == model_name

    @pytest.mark.parametrize(
        ("arguments", "passed"),
        [
            ({"tensor_parallel_size": 4, "enable_prefix_caching": True}, {"tensor_parallel_size": 4}),
            ({"tensor_parallel_size": 0, "enable_prefix_caching": True}, {"tensor_parallel_size": 4}),
            (
                {
                    "tensor_parallel_size": 4,
                    "enable_prefix_caching": False,
                    "gpu_memory_utilization": 0.95,
                    "max_num_seqs": 10,
                },
                {"enable_prefix_caching": False, "gpu_memory_utilization": 0.95, "max_num_seqs": 10},
            ),
        ],
        ids=["distillation", "distillation without a GPU", "vLLM"],
    )
    def test_vllm_notebooks(self, model: EchoStepper, arguments: dict[str, Any], passed: dict[str, Any]) -> None:
        config = InferenceConfig.from_str("""
model:
  model_name: "meta-llama/Llama-3.3-70B-Instruct"
  model_max_length: 512
  torch_dtype_str: "bfloat16"
  trust_remote_code: True
  attn_implementation: "sdpa"
generation: {max_new_tokens: 128, batch_size: 1}
""")
        engine = VLLMInferenceEngine(config.model, **arguments)
        assert engine_args(engine._model_params, HOST).items() >= passed.items()
        assert answer(engine.infer(input=[user("a")], inference_config=config)) == "answer to a"

    def test_gguf_file_on_vllm(self, tmp_path: Path, model: EchoStepper) -> None:
        file = tmp_path / "Meta-Llama-3.1-70B-Instruct-Q4_K_S.gguf"
        file.touch()
        params = ModelParams(str(file), tokenizer_name="meta-llama/Llama-3.3-70B-Instruct", torch_dtype_str="float16")
        passed = engine_args(VLLMInferenceEngine(params)._model_params, HOST)
        assert (passed["model"], passed["quantization"], passed["dtype"]) == (str(file), "gguf", "float16")

    def test_vision_language_models(self, model: EchoStepper, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = {
            "model_name": "meta-llama/Llama-3.2-11B-Vision-Instruct",
            "torch_dtype_str": "bfloat16",
            "chat_template": "llama3-instruct",
            "model_max_length": 1024,
            "trust_remote_code": False,
        }
        base = InferenceConfig(ModelParams(**settings), GenerationParams(128), engine="NATIVE")
        trained = InferenceConfig(ModelParams(**settings, adapter_model="tutorial"), GenerationParams(256))
        image = ContentItem(type=Type.IMAGE_BINARY, binary=b"\x89PNG\r\n\x1a\n")
        example = Conversation(
            messages=[
                Message(role=Role.USER, content=[image, ContentItem(type=Type.TEXT, content="What?")]),
                Message(role=Role.ASSISTANT, content="A cat."),
            ]
        )
        question = Conversation(messages=example.filter_messages(role=Role.USER))
        assert question.messages[0].text_content_items[0].content == "What?"
        engine = NativeTextInferenceEngine(trained.model)
        for config in (base, trained):
            assert answer(engine.infer([question], config)) == "answer to What?"
        assert [request.generation.max_new_tokens for request in model.requests] == [128, 256]


def test_names_of_engines_begin_with_those_of_oumi() -> None:
    names = (
        "NATIVE VLLM REMOTE_VLLM SGLANG LLAMACPP REMOTE ANTHROPIC GOOGLE_VERTEX GOOGLE_GEMINI DEEPSEEK FIREWORKS "
        "PARASAIL TOGETHER OPENAI OPENROUTER SAMBANOVA BEDROCK CEREBRAS HUGGING_FACE_ROUTER"
    )
    assert list(InferenceEngineType.__members__)[: len(names.split())] == names.split()
