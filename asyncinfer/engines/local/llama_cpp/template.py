"""Chat templates, compiled by llama-cpp-python."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from asyncinfer.engines.local.chat_prompt import Content, Render, supports_parts, supports_text
from asyncinfer.engines.local.llama_cpp.compat import api
from asyncinfer.errors import ConfigError


class Template(NamedTuple):
    """A compiled chat template.

    Args:
        needs_parts: Whether it supports the content of a message only as a list of parts, not as a string.
    """

    render: Render
    supports_tools: bool
    needs_parts: bool

    def content(self, text: Content) -> Content:
        """The function that converts a message to its content. `text` converts it to a string."""
        return (lambda message: [{"type": "text", "text": text(message)}]) if self.needs_parts else text


def compile_template(source: str, *, bos: str, eos: str) -> Template:
    """Compile a template.

    Args:
        bos: The text of the token that begins a sequence.
        eos: The text of the token that ends a sequence.

    Raises:
        ConfigError: The template is not valid Jinja.
    """
    # The formatter takes `add_generation_prompt` only when it is made.
    make = partial(api().llama_chat_format.Jinja2ChatFormatter, template=source, eos_token=eos, bos_token=bos)
    try:
        formatters = {is_asked: make(add_generation_prompt=is_asked) for is_asked in (True, False)}
    except Exception as error:
        raise ConfigError(f"model.chat_template: not a valid Jinja template: {error}") from error

    def render(*, add_generation_prompt: Any = True, **values: Any) -> str:
        return formatters[bool(add_generation_prompt)](**values).prompt

    needs_parts = not supports_text(render, tools=None) and supports_parts(render, tools=None)
    return Template(render, "tools" in source, needs_parts)
