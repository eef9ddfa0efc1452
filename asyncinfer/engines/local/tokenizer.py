"""Renders conversations with a tokenizer of Transformers, and chooses the template for models that have none."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.engines.local.chat_prompt import TemplateText, template_messages, template_names
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.paths import expanded

log = logging.getLogger("asyncinfer")

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


def hub_tokenizer(params: ModelParams) -> Any:
    """Load the tokenizer of a folder or a hub repository with Transformers. Blocks.

    Raises:
        ConfigError: It cannot be loaded.
    """
    name = params.tokenizer_name or params.model_name
    setting = "model.tokenizer_name" if params.tokenizer_name else "model.model_name"
    revision = None if params.tokenizer_name else params.model_revision
    options = {"trust_remote_code": params.trust_remote_code, "revision": revision} | params.tokenizer_kwargs
    auto: Any = import_module("transformers").AutoTokenizer
    try:
        return auto.from_pretrained(str(expanded(name, setting)), **options)
    except Exception as error:
        raise ConfigError(f"{setting}: Transformers cannot load the tokenizer of {name!r}: {error}") from error


def default_template(model_type: str = "") -> str:
    """The template for a model that has none: the one of its type, or one without special tokens. Logs a warning."""
    name = _BY_TYPE.get(model_type, _DEFAULT)
    log.warning(
        "model.chat_template: this model has no chat template, so the template %r is used; if its answers are poor, "
        "set the template that the model was trained with",
        name,
    )
    return template_names()[name].read_text(encoding="utf-8")


def has_template(reader: Any) -> bool:
    """Whether a tokenizer or a processor has a chat template."""
    return bool(getattr(reader, "chat_template", None))


def renderer(tokenizer: Any, template: str | None) -> TemplateText:
    """The function that renders a conversation with a tokenizer.

    Args:
        template: The text of a template; None: the tokenizer's own.

    Raises:
        ConfigError: There is no template.
    """
    if template is None and not has_template(tokenizer):
        raise ConfigError("model.chat_template: not set, and the tokenizer has none of its own")

    def render(conversation: Conversation, **variables: Any) -> str:
        own = {"tokenize": False, "tools": _tools(conversation)} | ({"chat_template": template} if template else {})
        try:
            return tokenizer.apply_chat_template(template_messages(conversation), **own | variables)
        except Exception as error:
            raise invalid_request(f"the chat template rejects this conversation: {error}") from error

    return render


def _tools(conversation: Conversation) -> list[dict[str, Any]] | None:
    return [tool.model_dump(mode="json", exclude_none=True) for tool in conversation.tools or ()] or None
