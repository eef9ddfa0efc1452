"""Renders conversations with the chat template of a GGUF file. Reads its vocabulary, but not its weights."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from asyncinfer.engines.local.chat_prompt import TemplateText, template_messages
from asyncinfer.engines.local.llama_cpp.compat import api, attach_log, unsuppressed_output
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.conversation import Conversation


class _Vocabulary(NamedTuple):
    template: str | None
    bos: str
    eos: str


def vocabulary_renderer(path: Path, template: str | None) -> TemplateText:
    """The function that renders a conversation with the template of a GGUF file. Blocks.

    Args:
        template: The text of another template.

    Raises:
        ConfigError: The file cannot be read, or has no template.
    """
    vocabulary = _read(path)
    source = template or vocabulary.template
    if source is None:
        raise ConfigError("model.chat_template: not set, and the GGUF file has none of its own")

    def render(conversation: Conversation, *, add_generation_prompt: bool = False, **variables: Any) -> str:
        tools = [tool.model_dump(mode="json", exclude_none=True) for tool in conversation.tools or ()] or None
        values = {"tools": tools} | {name: value for name, value in variables.items() if name != "tokenize"}
        formatter = api().llama_chat_format.Jinja2ChatFormatter(
            template=source,
            eos_token=vocabulary.eos,
            bos_token=vocabulary.bos,
            add_generation_prompt=add_generation_prompt,
        )
        try:
            return formatter(messages=template_messages(conversation), **values).prompt
        except Exception as error:
            raise invalid_request(f"the chat template rejects this conversation: {error}") from error

    return render


def _read(path: Path) -> _Vocabulary:
    with ExitStack() as after:
        after.callback(attach_log(verbose=False))
        try:
            with unsuppressed_output():
                llm: Any = after.enter_context(closing(api().Llama(str(path), vocab_only=True, verbose=False)))
        except (ValueError, OSError, RuntimeError) as error:
            raise ConfigError(f"model.model_name: llama.cpp cannot read {path}: {error}") from error
        text: str | None = llm.metadata.get("tokenizer.chat_template")
        return _Vocabulary(text, _token(llm, llm.token_bos()), _token(llm, llm.token_eos()))


def _token(llm: Any, token: int) -> str:
    """The text of a token. It is empty if the vocabulary has no such token."""
    vocabulary = api().llama_model_get_vocab(llm.model)
    return "" if token == -1 else api().llama_vocab_get_text(vocabulary, token).decode("utf-8")
