"""A chat template gets the content of a message as text or as parts, as it needs it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from asyncinfer.engines.local.llama_cpp.template import compile_template
from asyncinfer.errors import ConfigError
from asyncinfer.types.message import Message, Role

if find_spec("llama_cpp") is None:
    pytest.skip("needs the extra llamacpp", allow_module_level=True)

STRINGS = "{% for m in messages %}{{ m.role + ': ' + m.content | trim }}{% endfor %}"
PARTS = "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"
EITHER = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}{% endfor %}"
STRICT = "{% if messages | length < 2 %}{{ raise_exception('a system prompt is needed') }}{% endif %}" + STRINGS


@pytest.mark.parametrize(
    ("source", "needs_parts"), [(STRINGS, False), (PARTS, True), (EITHER, False), (STRICT, False), ("{{ 1 }}", False)]
)
def test_template_gets_parts_only_if_it_does_not_support_strings(source: str, needs_parts: bool) -> None:
    template = compile_template(source, bos="", eos="")
    expected = [{"type": "text", "text": "USER"}] if needs_parts else "USER"
    assert template.content(lambda message: message.role.upper())(Message(role=Role.USER, content="hi")) == expected


def test_invalid_template_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="not a valid Jinja template"):
        compile_template("{% for %}", bos="", eos="")
