"""Renders conversations with the chat template of a GGUF file. Needs its vocabulary, but not its weights."""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from asyncinfer.engines.local.chat_prompt import Content, check_effort, content_parts, render_prompt, text_content
from asyncinfer.engines.local.llama_cpp.compat import api, attach_log, llama_class, unsuppressed_output
from asyncinfer.engines.local.llama_cpp.template import Template, compile_template
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.message import Message


class TemplateSource(NamedTuple):
    """What a GGUF file holds for chat templates.

    Args:
        template: The text of its template. None if it has none.
        bos: The text of the token that begins a sequence.
        eos: The text of the token that ends a sequence.
    """

    template: str | None
    bos: str
    eos: str


class ChatRenderer:
    """Renders the conversation of a request with its own chat template, or with that of the GGUF file.

    Args:
        image_marker: The text that stands for an image. None if the model reads text only.
    """

    def __init__(self, source: TemplateSource, image_marker: str | None) -> None:
        self._source, self._reads_images = source, image_marker is not None
        self._text: Content = text_content if image_marker is None else partial(marked_text, marker=image_marker)
        self._templates: dict[str, Template] = {}

    def __call__(self, request: Request, **arguments: Any) -> str:
        """
        Args:
            arguments: Variables of the template, which take precedence over those of the request.

        Raises:
            RequestError: The template or the model does not support this conversation, or there is no template.
        """
        template = self._template(request)
        if not self._reads_images and any(message.contains_images() for message in request.conversation.messages):
            raise invalid_request(
                "this model reads text only, and the conversation contains images; for a vision model, "
                "set model.model_kwargs.mmproj to its projector"
            )

        def render(**variables: Any) -> str:
            return template.render(**variables | arguments)

        content = template.content(self._text)
        return render_prompt(request, render, supports_tools=template.supports_tools, content=content)

    def compile(self, text: str) -> Template:
        """Compile a template, or return it from the cache.

        Raises:
            ConfigError: The template is not valid Jinja.
        """
        if text not in self._templates:
            self._templates[text] = compile_template(text, bos=self._source.bos, eos=self._source.eos)
        return self._templates[text]

    def _template(self, request: Request) -> Template:
        text = request.model.chat_template or self._source.template
        if text is None:
            raise invalid_request("the GGUF file has no chat template: set model.chat_template")
        check_effort(request, text)
        return self.compile(text)


def template_source(llm: Any) -> TemplateSource:
    """What `llama_cpp.Llama` has read for chat templates."""
    template: str | None = llm.metadata.get("tokenizer.chat_template")
    return TemplateSource(template, _token_text(llm, llm.token_bos()), _token_text(llm, llm.token_eos()))


def read_template_source(path: Path) -> TemplateSource:
    """The same of a file. Blocks.

    Raises:
        ConfigError: The file cannot be read.
    """
    with ExitStack() as after:
        after.callback(attach_log(verbose=False))
        try:
            with unsuppressed_output():
                llm: Any = after.enter_context(closing(llama_class()(str(path), vocab_only=True, verbose=False)))
        except (ValueError, OSError, RuntimeError) as error:
            raise ConfigError(f"model.model_name: llama.cpp cannot read {path}: {error}") from error
        return template_source(llm)


def marked_text(message: Message, marker: str) -> str:
    """The content of a message as text, with a marker for each image.

    Raises:
        RequestError: The message contains documents.
    """
    pieces = [marker if part["type"] == "image" else part["text"] for part in content_parts(message)]
    return " ".join(pieces).replace(f" {marker}", marker).replace(f"{marker} ", marker)


def _token_text(llm: Any, token: int) -> str:
    """The text of a token. It is empty if the vocabulary has no such token."""
    vocabulary = api().llama_model_get_vocab(llm.model)
    return "" if token == -1 else api().llama_vocab_get_text(vocabulary, token).decode("utf-8")
