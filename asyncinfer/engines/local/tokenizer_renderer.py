"""Renders conversations with a tokenizer of Transformers, and chooses the template for models that have none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.engines.local.chat_prompt import (
    Content,
    Render,
    check_effort,
    render_prompt,
    template_names,
    text_content,
    vision_content,
)
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import ConfigError, invalid_request

log = logging.getLogger("asyncinfer")

ContentChoice = Callable[[Request, Render], Content]

_DEFAULT = "default"
# The templates of model types that have a format, but whose tokenizers may lack a template. As in Oumi.
_BY_TYPE = {
    "gpt2": "gpt2",
    "idefics3": "llava",
    "internvl": "internvl3",
    "llava": "llava",
    "mllama": "llama3-instruct",
    "molmo": "molmo",
    "phi3_v": "phi3-instruct",
    "phi4mm": "phi3-instruct",
    "qwen2_5_vl": "qwen2-vl-instruct",
    "qwen2_vl": "qwen2-vl-instruct",
    "qwen3_vl": "qwen3-vl-instruct",
    "qwen3_vl_moe": "qwen3-vl-instruct",
}


def default_template(model_type: str = "") -> str:
    """The template for a model that has none: the one of its type, or one without special tokens. Logs a warning."""
    name = _BY_TYPE.get(model_type, _DEFAULT)
    log.warning(
        "model.chat_template: this model has no chat template, so the template %r is used; if its answers are poor, "
        "set the template that the model was trained with",
        name,
    )
    return template_names()[name].read_text(encoding="utf-8")


def has_template(*readers: Any) -> bool:
    """Whether the tokenizer or the processor has a chat template."""
    return any(getattr(reader, "chat_template", None) for reader in readers)


class TokenizerRenderer:
    """Renders the conversation of a request with a tokenizer of Transformers.

    Args:
        processor: The processor of a vision model. Its template takes precedence over that of the tokenizer.
        default: The template if the request, the processor and the tokenizer have none.
        content: Selects the function that converts the messages. By default, for a text model or a vision model.
    """

    def __init__(
        self, tokenizer: Any, processor: Any = None, *, default: str | None = None, content: ContentChoice | None = None
    ) -> None:
        self._tokenizer = tokenizer
        own = getattr(processor, "chat_template", None)
        self._template = own if isinstance(own, str) else default
        self._content = content or (_text_content if processor is None else vision_content)

    def __call__(self, request: Request, **arguments: Any) -> str:
        """
        Args:
            arguments: Arguments of `apply_chat_template`, which take precedence over those of the request.

        Raises:
            RequestError: The template does not support this conversation, or there is none.
        """
        template = request.model.chat_template or self._template
        text = template or self._own_template(request)
        check_effort(request, text)
        supports_tools = "tools" in text
        content = self._content(request, self._render(template, {}))
        render = self._render(template, arguments)
        return render_prompt(request, render, supports_tools=supports_tools, content=content)

    def _own_template(self, request: Request) -> str:
        try:
            return self._tokenizer.get_chat_template(tools=request.tools or None)
        except ValueError as error:
            raise invalid_request("the model has no chat template: set model.chat_template") from error

    def _render(self, template: str | None, arguments: Mapping[str, Any]) -> Render:
        own: dict[str, Any] = {"tokenize": False} | ({"chat_template": template} if template else {})

        def render(*, messages: Any, **variables: Any) -> str:
            # `dict` raises if a variable of the request has the name of an argument that is set here.
            complete = {"add_generation_prompt": True, **dict(**own, **variables), **arguments}
            return self._tokenizer.apply_chat_template(messages, **complete)

        return render


def check_template(params: ModelParams, *readers: Any) -> None:
    """Raise a ConfigError if neither the settings nor a tokenizer or processor have a chat template."""
    if params.chat_template is None and not has_template(*readers):
        raise ConfigError("model.chat_template: not set, and the tokenizer has none of its own")


def _text_content(_: Request, __: Render) -> Content:
    return text_content
