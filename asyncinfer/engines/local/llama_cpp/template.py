"""Chat templates as llama-cpp-python renders them."""

from __future__ import annotations

from typing import Any, NamedTuple

from asyncinfer.engines.local.chat_prompt import Content, Render, takes_parts, takes_text
from asyncinfer.engines.local.llama_cpp.compat import api
from asyncinfer.errors import ConfigError


class Template(NamedTuple):
    """`in_parts`: it does not take a message's content as a string, only as a list of parts."""

    render: Render
    takes_tools: bool
    in_parts: bool

    def content(self, text: Content) -> Content:
        """What it takes for a message of which `text` makes a string."""
        return (lambda message: [{"type": "text", "text": text(message)}]) if self.in_parts else text


def compiled(source: str, *, bos: str, eos: str) -> Template:
    """`bos` and `eos`: the text of the tokens that begin and end a sequence. Raises ConfigError for invalid Jinja."""
    try:
        formatter = api().llama_chat_format.Jinja2ChatFormatter(template=source, eos_token=eos, bos_token=bos)
    except Exception as error:
        raise ConfigError(f"model.chat_template: not a valid Jinja template: {error}") from error

    def render(**values: Any) -> str:
        return formatter(**values).prompt

    return Template(render, "tools" in source, not takes_text(render, tools=None) and takes_parts(render, tools=None))
