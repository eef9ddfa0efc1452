"""The built-in chat templates write the formats that the models' publishers document."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import ConfigError, ModelParams
from asyncinfer.engines.local.chat_prompt import resolve_chat_template, template_file, template_names

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Who?"},
]
SEEN = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
POLITE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)

EXPECTED: list[tuple[str, list[dict[str, Any]], str]] = [
    (
        "chat_ml",
        [SYSTEM, *TURNS],
        "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("default", [SYSTEM, *TURNS], "SYSTEM: Be brief.\nUSER: Hi\nASSISTANT: Hello\nUSER: Who?\nASSISTANT: "),
    ("default_gen", TURNS, "USER: Hi\nASSISTANT: Hello\nUSER: Who?\nASSISTANT: "),
    (
        "gemma2-it",
        [SYSTEM, *TURNS],
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nWho?<end_of_turn>\n<start_of_turn>model\n",
    ),
    ("gpt2", TURNS, "Hi</s>Hello</s>Who?</s>"),
    ("internvl3", SEEN, "<|im_start|>user\n<IMG_CONTEXT>\nWhat?<|im_end|>\n<|im_start|>assistant\n"),
    (
        "llama3-instruct",
        [SYSTEM, *TURNS[:1]],
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>"
        "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    (
        "llama3-instruct",
        SEEN,
        "<s><|start_header_id|>user<|end_header_id|>\n\n<|image|>What?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("llava", SEEN, f"<s>{POLITE}USER: <image>\nWhat? ASSISTANT:"),
    ("llava", [SYSTEM, *TURNS], "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER: Who? ASSISTANT:"),
    ("molmo", SEEN, "User: What? Assistant:"),
    ("molmo", TURNS, "User: Hi Assistant: Hello User: Who? Assistant:"),
    ("phi3-instruct", SEEN, "<|user|>\n<|image_1|>\nWhat?<|end|>\n<|assistant|>\n"),
    (
        "qwen2-vl-instruct",
        SEEN,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        "qwen3-vl-instruct",
        SEEN,
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("phi3-instruct", TURNS[:2], "<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"),
    ("zephyr", [SYSTEM, *TURNS[:1]], "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\n"),
    ("zephyr", [{"role": "user", "content": " Hi "}], "<|user|>\n Hi </s>\n<|assistant|>\n"),
]


@pytest.mark.parametrize("blocks", [True, False], ids=["as Transformers", "as plain Jinja"])
@pytest.mark.parametrize(("name", "messages", "prompt"), EXPECTED)
def test_builtin_template_writes_the_documented_format(
    name: str, messages: list[dict[str, Any]], prompt: str, blocks: bool
) -> None:
    jinja: Any = pytest.importorskip("jinja2.sandbox")
    text = resolve_chat_template(ModelParams(chat_template=name)).chat_template
    template = jinja.ImmutableSandboxedEnvironment(trim_blocks=blocks, lstrip_blocks=blocks).from_string(text)
    assert template.render(messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True) == prompt


def test_every_builtin_template_is_tested() -> None:
    assert {name for name, _, _ in EXPECTED} == template_names().keys()


@pytest.mark.parametrize("name", ["gemma2-it", "molmo"])
@pytest.mark.parametrize("messages", [TURNS[1:], TURNS + TURNS[:1], [*TURNS[:1], {"role": "tool", "content": "4"}]])
def test_unsupported_order_of_roles_is_rejected(name: str, messages: list[dict[str, Any]]) -> None:
    jinja: Any = pytest.importorskip("jinja2")

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    template = jinja.Template(template_names()[name].read_text())
    with pytest.raises(ValueError, match="turns of user and assistant only"):
        template.render(messages=messages, bos_token="<s>", raise_exception=raise_exception)


def test_name_is_case_insensitive() -> None:
    assert template_file("LLaVA") == template_names()["llava"]


def test_unknown_name_is_an_error_that_lists_the_names() -> None:
    with pytest.raises(ConfigError, match=r"'lava' is neither.*llava"):
        template_file("lava")


def test_qwen2_vl_template_numbers_images_with_add_vision_id() -> None:
    jinja: Any = pytest.importorskip("jinja2")
    text = template_names()["qwen2-vl-instruct"].read_text()
    shown = jinja.Template(text).render(messages=SEEN * 2, add_vision_id=True)
    assert "Picture 1: <|vision_start|>" in shown
    assert "Picture 2: <|vision_start|>" in shown
