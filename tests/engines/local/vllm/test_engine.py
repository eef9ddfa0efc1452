"""The vLLM engine with SmolLM2-135M, without a GPU (extra heavy)."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, GuidedDecodingParams, InferenceConfig, ModelParams
from asyncinfer.dialects.media import to_base64
from asyncinfer.engines.local.chat_prompt import template_names
from asyncinfer.engines.local.vllm.engine import VLLMInferenceEngine
from asyncinfer.engines.local.vllm.model import VllmModel
from asyncinfer.errors import ConfigError, EngineDeadError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.run_errors import InferenceFailedError
from tests import tiny_models
from tests.asking import (
    CITY_TOKENS,
    ENDLESS,
    FORCED,
    TOKENS,
    TOOL_TEMPLATE,
    WEATHER,
    City,
    ask,
    check_reach_of_sampling,
    check_rejected_answers,
    check_several_answers,
    check_typed_answers,
    config,
    refusal,
    said,
)
from tests.fakes import question
from tests.smollm2 import Smollm2
from tests.tiny_vision import tiny_vision

if find_spec("vllm") is None:
    pytest.skip("needs the extra heavy", allow_module_level=True)

# torch and vLLM give deprecation warnings while they load.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

SMALL = {"kv_cache_memory_bytes": 256 * 2**20, "max_num_seqs": 32}
# The structure determines this answer, whatever the model computes.
ANSWER = "The capital of France is Paris."
PARIS = {"guided_decoding": GuidedDecodingParams(choice=[ANSWER])}
QUESTIONS = ["What is the capital of France?", "Name three colours.", "Tell me about Paris in two sentences."]


def params(smollm2: Smollm2, **kwargs: Any) -> ModelParams:
    given = {"model_name": str(smollm2.model), "model_max_length": 1024, **kwargs}
    given["model_kwargs"] = SMALL | kwargs.get("model_kwargs", {})
    return ModelParams.model_validate(given)


@pytest.fixture(scope="module")
def engine(smollm2: Smollm2) -> Iterator[VLLMInferenceEngine]:
    made = VLLMInferenceEngine(params(smollm2))
    yield made
    made.close()


@pytest.fixture(scope="module")
def with_tools(smollm2: Smollm2) -> Iterator[VLLMInferenceEngine]:
    """An engine whose chat template supports tools."""
    made = VLLMInferenceEngine(params(smollm2, chat_template=TOOL_TEMPLATE))
    yield made
    made.close()


async def test_greedy_answers_equal_those_of_vllm(
    engine: VLLMInferenceEngine, smollm2: Smollm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = [said(await ask(engine, text)) for text in QUESTIONS]
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

    def bare() -> list[str]:
        vllm: Any = import_module("vllm")
        llm = vllm.LLM(str(smollm2.model), dtype="float32", max_model_len=1024, enforce_eager=True, **SMALL)
        how = vllm.SamplingParams(temperature=0.0, max_tokens=TOKENS)
        ask_it = [[{"role": "user", "content": text}] for text in QUESTIONS]
        # One at a time, because kernels may round differently in a batch.
        return [llm.chat(messages, how, use_tqdm=False)[0].outputs[0].text for messages in ask_it]

    await engine.aclose()  # `LLM` frees the global state of vLLM when it ends.
    assert await asyncio.to_thread(bare) == answered


async def test_answer_has_usage_and_finish_reason(engine: VLLMInferenceEngine) -> None:
    cut = await ask(engine, QUESTIONS[2], max_new_tokens=5, logit_bias=ENDLESS)
    assert cut.metadata["finish_reason"] == "length"
    usage = cut.metadata["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    whole = await ask(engine, QUESTIONS[0], guided_decoding=GuidedDecodingParams(choice=["Paris"]))
    assert whole.metadata["finish_reason"] == "stop"


async def test_prefix_is_reused(engine: VLLMInferenceEngine) -> None:
    text = "Once upon a time there was a small town by the sea. " * 30
    await ask(engine, text + "Who lived there?")
    warm = await ask(engine, text + "What was by the sea?")
    assert warm.metadata["usage"]["cached_tokens"] > 200


async def test_stop_string_ends_the_answer_before_it(engine: VLLMInferenceEngine) -> None:
    stopped = await ask(engine, QUESTIONS[0], **PARIS, stop_strings=["no such text", "", "France"])
    assert said(stopped) == "The capital of "
    assert stopped.metadata["finish_reason"] == "stop"


@pytest.mark.parametrize(("stops", "text"), [(None, ANSWER), (["France is"], "The capital of ")])
async def test_deltas_of_a_stream_add_up_to_the_answer(
    engine: VLLMInferenceEngine, stops: list[str] | None, text: str
) -> None:
    async with engine.astream(question(QUESTIONS[0]), config(**PARIS, stop_strings=stops)) as stream:
        deltas = [delta async for delta in stream]
    assert "".join(delta.content for delta in deltas) == text
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens > 2
    assert len(deltas) > 2


@pytest.mark.parametrize("schema", [City, City.model_json_schema(), json.dumps(City.model_json_schema())])
async def test_answer_is_valid_for_the_json_schema(engine: VLLMInferenceEngine, schema: object) -> None:
    guided = GuidedDecodingParams(json=schema)
    answered = await ask(engine, "Describe Paris as JSON.", guided_decoding=guided, max_new_tokens=CITY_TOKENS)
    City.model_validate_json(said(answered))


async def test_answer_matches_the_choices_or_the_regular_expression(engine: VLLMInferenceEngine) -> None:
    choices = ["Lyon", 'a "quoted" answer', "Paris"]
    assert said(await ask(engine, QUESTIONS[0], guided_decoding=GuidedDecodingParams(choice=choices))) in choices
    year = await ask(engine, "When was Rome founded?", guided_decoding=GuidedDecodingParams(regex=r"\d{3} BC"))
    assert said(year)[3:] == " BC"


async def test_unsupported_structure_is_rejected(engine: VLLMInferenceEngine) -> None:
    assert "unclosed group" in await refusal(engine, "hi", guided_decoding=GuidedDecodingParams(regex="(a"))
    nonsense = GuidedDecodingParams(json={"type": "nonsense"})
    assert "Invalid type: nonsense" in await refusal(engine, "hi", guided_decoding=nonsense)
    assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER


async def test_different_seeds_give_different_answers(engine: VLLMInferenceEngine) -> None:
    """At the highest temperature that vLLM accepts, and with enough tokens that no two answers are equal."""
    settings: dict[str, Any] = {"temperature": 2.0, "max_new_tokens": 48, "logit_bias": ENDLESS}
    seeded = [said(await ask(engine, QUESTIONS[2], **settings, seed=seed)) for seed in (7, 8, None, None)]
    assert len(set(seeded)) == 4


async def test_same_seed_gives_the_same_answer(engine: VLLMInferenceEngine) -> None:
    """The regular expression allows two tokens at each place."""
    settings: dict[str, Any] = {"temperature": 1.0, "seed": 7, "guided_decoding": GuidedDecodingParams(regex="[ab]{8}")}
    drawn = [said(await ask(engine, QUESTIONS[2], **settings, max_new_tokens=12)) for _ in range(2)]
    assert drawn[0] == drawn[1]


async def test_large_bias_or_penalty_determines_the_token(engine: VLLMInferenceEngine) -> None:
    biases = {28: 100.0, 29: 80.0}
    assert said(await ask(engine, "hi", logit_bias=biases, max_new_tokens=3)) == ",,,"
    # The largest penalty that vLLM accepts. It applies once for each earlier occurrence of the token.
    penalised = said(await ask(engine, "hi", logit_bias=biases, frequency_penalty=2.0, max_new_tokens=32))
    assert {",", "-"} <= set(penalised)
    # Token 2 ends the answer.
    assert said(await ask(engine, "hi", logit_bias={2: 100.0})) == ""
    shown = await ask(engine, "hi", logit_bias={17: 100.0}, stop_token_ids=[17], skip_special_tokens=False)
    assert shown.metadata["usage"]["completion_tokens"] == 1


async def test_bias_for_an_invalid_token_is_rejected(engine: VLLMInferenceEngine) -> None:
    assert "token ids" in await refusal(engine, "hi", logit_bias={"paris": 1.0})
    assert "vLLM cannot" in await refusal(engine, "hi", logit_bias={10**6: 1.0})


async def test_rows_are_returned_as_they_finish(engine: VLLMInferenceEngine) -> None:
    rows = [question(QUESTIONS[2], metadata={"n": n}) for n in range(4)]
    lengths = iter([60, 5, 60, 5])
    finished: list[int] = []

    async def one(row: Conversation) -> None:
        await engine.ainfer([row], config(max_new_tokens=next(lengths), logit_bias={2: -100.0}))
        finished.append(row.metadata["n"])

    await asyncio.gather(*(one(row) for row in rows))
    assert sorted(finished[:2]) == [1, 3]


def test_engine_has_as_many_slots_as_vllms_llm(smollm2: Smollm2) -> None:
    args = {"model": str(smollm2.model), "dtype": "float32", "max_model_len": 512, "enforce_eager": True}
    args |= {"kv_cache_memory_bytes": SMALL["kv_cache_memory_bytes"]}
    context: Any = import_module("vllm.usage.usage_lib").UsageContext.LLM_CLASS
    theirs = import_module("vllm.engine.arg_utils").EngineArgs(**args).create_engine_config(context).scheduler_config
    model = VllmModel(args, None)
    assert model.slots == theirs.max_num_seqs
    model.close()


async def test_engine_is_usable_after_cancelled_rows(engine: VLLMInferenceEngine) -> None:
    async with engine.astream(question(QUESTIONS[2]), config(max_new_tokens=900, logit_bias=ENDLESS)) as stream:
        async for _ in stream:
            break
    task = asyncio.create_task(ask(engine, QUESTIONS[2], max_new_tokens=900, logit_bias=ENDLESS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER
    assert engine._thread is not None


async def test_answer_ends_when_the_context_is_full(engine: VLLMInferenceEngine) -> None:
    long = await refusal(engine, "word " * 1100)
    assert "the prompt has 1131 tokens, the context holds 1024" in long
    cut = await ask(engine, "word " * 960, max_new_tokens=500, logit_bias={2: -100.0})
    assert cut.metadata["finish_reason"] == "length"
    assert cut.metadata["usage"]["total_tokens"] == 1024


async def test_failed_row_does_not_affect_others(engine: VLLMInferenceEngine) -> None:
    rows = [question(QUESTIONS[0]), question("word " * 1100), question(QUESTIONS[1])]
    with pytest.raises(InferenceFailedError) as caught:
        await engine.ainfer(rows, config())
    assert [index for index, _ in caught.value.result.successful] == [0, 2]


async def test_content_that_the_model_does_not_support_is_rejected(engine: VLLMInferenceEngine) -> None:
    assert "does not support tools" in await refusal(engine, question("hi", tools=[WEATHER]))
    image = ContentItem(type=Type.IMAGE_BINARY, binary=b"\x89PNG\r\n\x1a\n")
    assert "images" in await refusal(engine, Conversation(messages=[Message(role=Role.USER, content=[image])]))
    strict = InferenceConfig(model=ModelParams(chat_template="{{ raise_exception('roles must alternate') }}"))
    result = await engine.ainfer_partial([question("hi")], strict)
    assert "roles must alternate" in result.failures[0].error_message


async def test_chat_template_and_its_variables_can_differ_between_calls(
    engine: VLLMInferenceEngine, smollm2: Smollm2, tmp_path: Path
) -> None:
    path = tmp_path / "template.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}{{ ending }}")
    model = ModelParams(chat_template=str(path), chat_template_kwargs={"ending": " One two three four five"})
    call = InferenceConfig(model=model, generation=GenerationParams(max_new_tokens=3))
    (answered,) = await engine.ainfer([question("Count:")], call)
    tokenizer: Any = import_module("transformers").AutoTokenizer.from_pretrained(smollm2.model)
    prompt = tokenizer("Count: One two three four five", add_special_tokens=False)["input_ids"]
    assert answered.metadata["usage"]["prompt_tokens"] == len(prompt)


async def test_apply_chat_template_gives_the_prompt_of_an_answer(
    with_tools: VLLMInferenceEngine, smollm2: Smollm2
) -> None:
    two = [{"role": "user", "content": "How is the weather?"}, {"role": "user", "content": "In Rome."}]
    conversation = Conversation.from_dict({"messages": two, "tools": [WEATHER]})
    answered = await ask(with_tools, conversation, max_new_tokens=1)
    text = await with_tools.aapply_chat_template(conversation, add_generation_prompt=True)
    assert "How is the weather?\nIn Rome." in text
    tokenizer: Any = import_module("transformers").AutoTokenizer.from_pretrained(smollm2.model)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert answered.metadata["usage"]["prompt_tokens"] == len(prompt)


@pytest.mark.parametrize("choice", ["required", FORCED])
async def test_required_tool_call_is_made_and_parsed(with_tools: VLLMInferenceEngine, choice: Any) -> None:
    conversation = question("How is the weather in Rome?", tools=[WEATHER])
    (answered,) = await with_tools.ainfer([conversation], config(tool_choice=choice, max_new_tokens=CITY_TOKENS))
    async with with_tools.astream(conversation, config(tool_choice=choice, max_new_tokens=CITY_TOKENS)) as stream:
        deltas = [delta async for delta in stream]
    (call,) = answered.messages[-1].tool_calls or []
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    assert answered.metadata["finish_reason"] == "tool_calls"
    assert answered.messages[-1].content is None
    assert "".join(delta.content for delta in deltas) == ""
    assert deltas[-1].tool_calls[0]["function"]["name"] == "weather"


@pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
async def test_number_of_calls_follows_parallel_tool_calls(
    with_tools: VLLMInferenceEngine, parallel: bool, count: int
) -> None:
    call = r'<tool_call>\{"name": "weather", "arguments": \{"city": "(Paris|Rome)"\}\}</tool_call>'
    two = config(guided_decoding={"regex": call * 2}, parallel_tool_calls=parallel, max_new_tokens=80)
    (answered,) = await with_tools.ainfer([question("How is the weather?", tools=[WEATHER])], two)
    assert len(answered.messages[-1].tool_calls or []) == count
    assert answered.metadata["finish_reason"] == "tool_calls"


async def test_unknown_tool_is_rejected(with_tools: VLLMInferenceEngine) -> None:
    choice = {"type": "function", "function": {"name": "no_such"}}
    assert "no_such" in await refusal(with_tools, question("hi", tools=[WEATHER]), tool_choice=choice)


async def test_tool_call_parser_of_vllm_is_used(smollm2: Smollm2) -> None:
    model_params = params(smollm2, chat_template=TOOL_TEMPLATE, tool_call_parser="hermes")
    conversation = question("How is the weather in Rome?", tools=[WEATHER])
    async with VLLMInferenceEngine(model_params) as engine:
        for choice in ("required", FORCED):
            (answered,) = await engine.ainfer([conversation], config(tool_choice=choice, max_new_tokens=CITY_TOKENS))
            (call,) = answered.messages[-1].tool_calls or []
            assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
            assert answered.metadata["finish_reason"] == "tool_calls"
        async with engine.astream(conversation, config(tool_choice="required", max_new_tokens=CITY_TOKENS)) as stream:
            deltas = [delta async for delta in stream]
    assert "".join(delta.content for delta in deltas).strip() == ""
    assert deltas[-1].tool_calls[0]["function"]["name"] == "weather"


async def test_reasoning_is_separated_from_the_answer(smollm2: Smollm2) -> None:
    options = {"reasoning_parser": "granite", "structured_outputs_config": {"enable_in_reasoning": True}}
    words = {"regex": r"Here is my thought process: (one|two) Here is my response: (yes|no)"}
    async with VLLMInferenceEngine(params(smollm2, model_kwargs=options)) as engine:
        answered = await ask(engine, "One?", guided_decoding=words, max_new_tokens=32)
        async with engine.astream(question("One?"), config(guided_decoding=words, max_new_tokens=32)) as stream:
            deltas = [delta async for delta in stream]
    message = answered.messages[-1]
    assert (message.reasoning_content or "").strip() in ("one", "two")
    assert said(answered).strip() in ("yes", "no")
    # vLLM streams some text as reasoning that belongs to the beginning of the answer.
    streamed = "".join(delta.reasoning_content for delta in deltas)
    assert streamed.strip().startswith((message.reasoning_content or "").strip())
    assert "".join(delta.content for delta in deltas).strip() == said(answered).strip()


def with_image(kind: Type, content: str | None = None, binary: bytes | None = None) -> Conversation:
    image = ContentItem(type=kind, content=content, binary=binary)
    text = ContentItem(type=Type.TEXT, content="What is this?")
    return Conversation(messages=[Message(role=Role.USER, content=[image, text])])


def png(colour: str) -> bytes:
    file = io.BytesIO()
    import_module("PIL.Image").new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


async def test_image_can_be_a_path_a_url_or_bytes(smollm2: Smollm2, tmp_path: Path) -> None:
    model = await asyncio.to_thread(tiny_vision, tmp_path / "model", smollm2.model)
    (tmp_path / "red.png").write_bytes(png("red"))
    rows = [
        with_image(Type.IMAGE_PATH, str(tmp_path / "red.png")),
        with_image(Type.IMAGE_URL, "data:image/png;base64," + to_base64(png("red"))),
        with_image(Type.IMAGE_BINARY, binary=png("red")),
        with_image(Type.IMAGE_BINARY, binary=png("blue")),
        with_image(Type.IMAGE_BINARY, binary=b"\x89PNG\r\n\x1a\n"),
        question("What is this?"),
    ]
    model_params = params(smollm2, model_name=str(model), model_max_length=256)
    async with VLLMInferenceEngine(model_params) as engine:
        result = await engine.ainfer_partial(rows, config(max_new_tokens=8))
    assert "cannot be read" in result.failures[4].error_message
    path, url, binary, blue, _ = (said(conversation) for _, conversation in result.successful)
    assert path == url == binary != blue


@pytest.mark.parametrize(
    "name",
    ["internvl3", "llama3-instruct", "llava", "molmo", "phi3-instruct", "qwen2-vl-instruct", "qwen3-vl-instruct"],
)
def test_vllm_detects_that_builtin_templates_write_images(name: str) -> None:
    detect: Any = import_module("vllm.renderers.hf")._detect_content_format  # type: ignore[attr-defined]
    assert detect(template_names()[name].read_text(), default="string") == "openai"


async def test_answers_with_an_adapter_equal_those_of_vllm(
    engine: VLLMInferenceEngine, smollm2: Smollm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with VLLMInferenceEngine(params(smollm2, adapter_model=str(smollm2.adapter))) as adapted:
        answered = said(await ask(adapted, QUESTIONS[2]))
    await engine.aclose()  # `LLM` frees the global state of vLLM when it ends.
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

    def bare() -> str:
        vllm: Any = import_module("vllm")
        given = {"dtype": "float32", "max_model_len": 1024, "enforce_eager": True, "enable_lora": True, **SMALL}
        llm = vllm.LLM(str(smollm2.model), **given)
        lora = import_module("vllm.lora.request").LoRARequest("adapter", 1, str(smollm2.adapter))
        how = vllm.SamplingParams(temperature=0.0, max_tokens=TOKENS)
        messages = [{"role": "user", "content": QUESTIONS[2]}]
        return llm.chat(messages, how, use_tqdm=False, lora_request=lora)[0].outputs[0].text

    assert await asyncio.to_thread(bare) == answered


async def test_two_engines_at_once_do_not_disturb_each_other(
    engine: VLLMInferenceEngine, with_tools: VLLMInferenceEngine
) -> None:
    together = await asyncio.gather(*(ask(one, QUESTIONS[2], **PARIS) for one in (engine, with_tools)))
    assert [said(one) for one in together] == [ANSWER, ANSWER]
    await with_tools.aclose()
    assert said(await ask(engine, QUESTIONS[2], **PARIS)) == ANSWER
    assert said(await ask(with_tools, QUESTIONS[2], **PARIS)) == ANSWER


async def test_engine_that_cannot_load_does_not_disturb_another(
    engine: VLLMInferenceEngine, smollm2: Smollm2, tmp_path: Path
) -> None:
    shutil.copytree(smollm2.adapter, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"broken")
    async with VLLMInferenceEngine(params(smollm2, adapter_model=str(tmp_path / "adapter"))) as broken:
        assert "cannot load" in await refusal(broken, "hi")
    gc.collect()
    assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "header too large"),
        ("tokenizer.json", "{}", r"KeyError\('added_tokens'\)"),
        ("config.json", "{", "not a valid JSON file"),
    ],
)
async def test_error_for_a_damaged_folder_says_what_to_do(
    smollm2: Smollm2, tmp_path: Path, file: str, text: str, message: str
) -> None:
    folder = tiny_models.llama(tmp_path / "model", smollm2.model)
    (folder / file).write_text(text)
    async with VLLMInferenceEngine(params(smollm2, model_name=str(folder), model_max_length=64)) as engine:
        error = await refusal(engine, "hi")
    assert str(folder) in error
    assert re.search(rf"{message}.*Check that the model is complete", error)


async def test_close_frees_the_memory(engine: VLLMInferenceEngine) -> None:
    process = import_module("psutil").Process()
    await engine.aclose()
    threads = threading.active_count()
    for _ in range(2):
        closed = process.memory_info().rss
        await ask(engine, QUESTIONS[0])
        held = process.memory_info().rss - closed
        await engine.aclose()
        assert held > 400 * 2**20
        assert process.memory_info().rss - closed < held / 4
    assert threading.active_count() == threads


async def test_error_of_a_failed_engine_says_how_to_go_on(
    engine: VLLMInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    core: Any = import_module("vllm.v1.engine.core")
    dead: Any = import_module("vllm.v1.engine.exceptions").EngineDeadError
    await ask(engine, QUESTIONS[0])

    def fail(_: object) -> None:
        raise dead

    with monkeypatch.context() as patch:
        patch.setattr(core.EngineCore, "step", fail)
        await engine.aclose()
        result = await engine.ainfer_partial([question("hi")], config())
    assert result.failures[0].error_type == "engine_failure"
    assert "Close the engine, or make a new one" in result.failures[0].error_message
    with pytest.raises(EngineDeadError):
        async with engine.astream(question("hi")) as stream:
            await anext(stream)
    await engine.aclose()
    assert said(await ask(engine, QUESTIONS[0]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"model_kwargs": {"max_num_seq": 3}}, "did you mean 'max_num_seqs'"),
        ({"model_kwargs": {"kv_cache_memory_bytes": 2**45}}, "memory.*model_kwargs"),
        ({"model_kwargs": {"quantization": "bitsandbytes"}}, "no 'bitsandbytes'"),
        ({"model_kwargs": {"load_in_4bit": True}}, "no 'bitsandbytes'"),
        ({"model_kwargs": {"filename": "model.gguf"}}, "GGUF.*LLAMACPP"),
        ({"model_kwargs": {"reasoning_parser": "qwen33"}}, "did you mean 'qwen3'"),
        ({"tool_call_parser": "hermez"}, "did you mean 'hermes'"),
        ({"model_max_length": 100_000}, "model.model_max_length"),
        ({"torch_dtype_str": "uint8"}, "dtype"),
        ({"model_name": "no/such-model"}, "no/such-model"),
    ],
)
async def test_error_for_a_model_that_cannot_be_loaded_names_the_reason(
    smollm2: Smollm2, kwargs: dict[str, Any], message: str
) -> None:
    async with VLLMInferenceEngine(params(smollm2, **kwargs)) as engine:
        assert re.search(message, await refusal(engine, "hi"), re.DOTALL)


def test_missing_folder_is_rejected_at_construction(smollm2: Smollm2) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        VLLMInferenceEngine(params(smollm2, model_name="/nowhere/model"))
    with pytest.raises(ConfigError, match="adapter_config.json"):
        VLLMInferenceEngine(params(smollm2, adapter_model=str(smollm2.model)))


QUIET = """
import asyncio, random, sys
from asyncinfer import *

async def main():
    random.seed(1)
    model = ModelParams(model_name=sys.argv[1], model_max_length=256, model_kwargs={"kv_cache_memory_bytes": 2**28})
    engine = build_engine(InferenceConfig(engine="vllm", model=model))
    row = Conversation(messages=[Message(role=Role.USER, content="hi")])
    await engine.ainfer([row], InferenceConfig(generation=GenerationParams(max_new_tokens=4)))
    print(random.random())

asyncio.run(main())
"""


def test_program_prints_nothing_keeps_its_random_numbers_and_ends_with_an_open_engine(
    smollm2: Smollm2,
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", QUIET, str(smollm2.model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    random.seed(1)
    assert done.stdout == f"{random.random()}\n"
    # The C++ code prints messages about NUMA, which cannot be switched off.
    assert all("NUMA" in line for line in done.stderr.splitlines()), done.stderr


async def test_log_probabilities_equal_those_of_vllm(
    engine: VLLMInferenceEngine, smollm2: Smollm2, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = await ask(engine, QUESTIONS[0], max_new_tokens=6, top_logprobs=3)
    entries = answered.metadata["logprobs"]
    assert "".join(entry["token"] for entry in entries) == said(answered)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

    def bare() -> Any:
        vllm: Any = import_module("vllm")
        llm = vllm.LLM(str(smollm2.model), dtype="float32", max_model_len=1024, enforce_eager=True, **SMALL)
        how = vllm.SamplingParams(temperature=0.0, max_tokens=6, logprobs=3)
        turns = [{"role": "user", "content": QUESTIONS[0]}]
        return llm.chat(turns, how, use_tqdm=False)[0].outputs[0]

    theirs = await asyncio.to_thread(bare)
    chosen = [found[token].logprob for token, found in zip(theirs.token_ids, theirs.logprobs, strict=True)]
    assert [entry["logprob"] for entry in entries] == pytest.approx(chosen, abs=1e-3)
    assert all(len(entry["top_logprobs"]) == 3 for entry in entries)


async def test_log_probabilities_of_a_stream_are_those_of_the_answer(engine: VLLMInferenceEngine) -> None:
    """The token that ends the answer has no entry."""
    answered = await ask(engine, QUESTIONS[0], logprobs=True, **PARIS)
    async with engine.astream(question(QUESTIONS[0]), config(logprobs=True, **PARIS)) as stream:
        deltas = [delta async for delta in stream]
    entries = [entry["token"] for delta in deltas for entry in delta.logprobs]
    assert entries == [entry["token"] for entry in answered.metadata["logprobs"]]
    assert "".join(entries) == said(answered) == ANSWER
    assert all(entry["top_logprobs"] == [] for entry in answered.metadata["logprobs"])


async def test_typed_answers_need_no_retry(engine: VLLMInferenceEngine) -> None:
    await check_typed_answers(engine)


async def test_answers_that_do_not_fit_are_asked_again(engine: VLLMInferenceEngine) -> None:
    await check_rejected_answers(engine)


async def test_top_k_and_repetition_penalty_have_their_effect(engine: VLLMInferenceEngine) -> None:
    await check_reach_of_sampling(engine)


async def test_several_answers_to_one_conversation(engine: VLLMInferenceEngine) -> None:
    await check_several_answers(engine)
