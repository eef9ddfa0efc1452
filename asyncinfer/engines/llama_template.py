"""Chat templates as llama-cpp-python renders them."""

from __future__ import annotations

from typing import Any, NamedTuple

from asyncinfer.engines.chat_prompt import Content, Render
from asyncinfer.engines.llama_api import api
from asyncinfer.errors import ConfigError

_PROBE = "a probe of the content"


class Template(NamedTuple):
    """`in_parts`: it does not take a message's content as a string, only as a list of parts."""

    render: Render
    takes_tools: bool
    in_parts: bool

    def content(self, text: Content) -> Content:
        """What it takes for a message of which `text` makes a string."""
        return (lambda message: _part(text(message))) if self.in_parts else text


def compiled(source: str, *, bos: str, eos: str) -> Template:
    """`bos` and `eos`: the text of the tokens that begin and end a sequence. Raises ConfigError for invalid Jinja."""
    try:
        formatter = api().llama_chat_format.Jinja2ChatFormatter(template=source, eos_token=eos, bos_token=bos)
    except Exception as error:
        raise ConfigError(f"model.chat_template: not a valid Jinja template: {error}") from error

    def render(**values: Any) -> str:
        return formatter(**values).prompt

    return Template(render, "tools" in source, not _shows(render, _PROBE) and _shows(render, _part(_PROBE)))


def _part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _shows(render: Render, content: Any) -> bool:
    try:
        return _PROBE in render(messages=[{"role": "user", "content": content}], tools=None)
    except Exception:  # What a template rejects is told to the row that it rejects.
        return False
