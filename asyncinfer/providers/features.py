"""The table of providers and their features.

Whether a provider supports a feature is not written down anywhere. Its encoder is given a request that uses the
feature, so the table cannot contradict the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.provider import Provider
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest

_PNG, _PDF = "iVBORw0KGgo=", "JVBERi0xLjc="
_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
_TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}


class Feature(StrEnum):
    """What an API or an engine may support. The values are the columns of the table."""

    TOOLS = "tools"
    JSON_SCHEMA = "JSON schema"
    REGEX = "regex"
    CHOICE = "choice"
    IMAGES = "images"
    IMAGE_URLS = "image URLs"
    PDF = "PDF"
    PDF_URLS = "PDF URLs"


@dataclass(frozen=True, slots=True)
class _Sample:
    """A request that uses one feature."""

    content: Any = "Hello."
    tools: Any = None
    generation: Any = None


_SAMPLES = {
    Feature.TOOLS: _Sample(tools=[_TOOL]),
    Feature.JSON_SCHEMA: _Sample(generation={"guided_decoding": {"json": _SCHEMA}}),
    Feature.REGEX: _Sample(generation={"guided_decoding": {"regex": "a+"}}),
    Feature.CHOICE: _Sample(generation={"guided_decoding": {"choice": ["a", "b"]}}),
    Feature.IMAGES: _Sample([{"type": "image_binary", "binary": _PNG}]),
    Feature.IMAGE_URLS: _Sample([{"type": "image_url", "content": "https://example.com/a.png"}]),
    Feature.PDF: _Sample([{"type": "document_binary", "binary": _PDF}]),
    Feature.PDF_URLS: _Sample([{"type": "document_url", "content": "https://example.com/a.pdf"}]),
}
# The generation parameters that most providers support. The table names the exceptions.
COMMON = frozenset(
    [
        "extra_body",
        "guided_decoding",
        "max_new_tokens",
        "parallel_tool_calls",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_p",
    ]
)


def features(provider: Provider) -> set[Feature]:
    """Return the features that a provider supports."""
    return {feature for feature, sample in _SAMPLES.items() if _request(provider, sample) is not None}


def providers_table(providers: Iterable[tuple[str, Provider]]) -> str:
    """Return a table in Markdown, with one row per provider and its name in configurations."""
    columns = [
        "engine",
        "class",
        "key",
        "extra",
        *Feature,
        "Responses API",
        "batch jobs",
        "additional parameters",
        "unsupported parameters",
    ]
    rows = [[*_cells(name, provider)] for name, provider in providers]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(name: str, provider: Provider) -> Iterator[str]:
    found, supported = features(provider), provider.dialect.supported
    yield f"`{name}`"
    yield f"`{provider.class_name}`"
    yield provider.auth.needs
    yield f"`{provider.extra}`" if provider.extra else ""
    yield from ("yes" if feature in found else "" for feature in Feature)
    yield "yes" if provider.dialect.responses is not None else ""
    yield "yes" if provider.batch is not None else ""
    yield ", ".join(f"`{parameter}`" for parameter in sorted(supported - COMMON))
    yield ", ".join(f"`{parameter}`" for parameter in sorted(COMMON - supported))


def _request(provider: Provider, sample: _Sample) -> HttpRequest | None:
    """Return the request for a sample; None if the provider does not support it."""
    conversation = {"messages": [{"role": "user", "content": sample.content}], "tools": sample.tools}
    generation = GenerationParams.model_validate(sample.generation or {})
    try:
        encode = provider.dialect.encoder(
            EncoderSettings(provider.url or "http://localhost", ModelParams(model_name="m"), generation)
        )
        return encode(Conversation.from_dict(conversation))
    except (ConfigError, RequestError):
        return None
