"""What each provider can do, found out by asking its encoder: a table that cannot say what is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.provider import Provider
from asyncinfer.types.conversation import Conversation

_PNG, _PDF = "iVBORw0KGgo=", "JVBERi0xLjc="
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class _Trial:
    """A request that takes one feature: what is said, with which tools, under which settings."""

    says: Any = "Hello."
    tools: Any = None
    generation: Any = None


TRIALS = {
    "tools": _Trial(tools=[_TOOL]),
    "JSON schema": _Trial(generation={"guided_decoding": {"json": _SCHEMA}}),
    "regex": _Trial(generation={"guided_decoding": {"regex": "a+"}}),
    "choice": _Trial(generation={"guided_decoding": {"choice": ["a", "b"]}}),
    "images": _Trial([{"type": "image_binary", "binary": _PNG}]),
    "image URLs": _Trial([{"type": "image_url", "content": "https://example.com/a.png"}]),
    "PDF": _Trial([{"type": "document_binary", "binary": _PDF}]),
    "PDF URLs": _Trial([{"type": "document_url", "content": "https://example.com/a.pdf"}]),
}


def features(provider: Provider) -> set[str]:
    """Those of `TRIALS` that a request to this provider can hold."""
    return {name for name, trial in TRIALS.items() if _request(provider, trial) is not None}


def providers_table(providers: Iterator[tuple[str, Provider]], class_of: Callable[[str], str]) -> str:
    """The providers as a table in Markdown."""
    columns = ["engine", "class", "key", *TRIALS, "beside the common parameters", "not taken"]
    rows = [[*_row(name, class_of(name), provider)] for name, provider in providers]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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


def _row(name: str, kind: str, provider: Provider) -> Iterator[str]:
    can, supported = features(provider), provider.dialect.supported
    yield f"`{name}`"
    yield f"`{kind}`"
    yield provider.auth.needs
    yield from ("yes" if feature in can else "" for feature in TRIALS)
    yield ", ".join(f"`{parameter}`" for parameter in sorted(supported - COMMON))
    yield ", ".join(f"`{parameter}`" for parameter in sorted(COMMON - supported))


def _request(provider: Provider, trial: _Trial) -> HttpRequest | None:
    conversation = {"messages": [{"role": "user", "content": trial.says}], "tools": trial.tools}
    generation = GenerationParams.model_validate(trial.generation or {})
    try:
        encode = provider.dialect.encoder(
            EncoderSettings(provider.url or "http://localhost", ModelParams(model_name="m"), generation)
        )
        return encode(Conversation.from_dict(conversation))
    except (ConfigError, RequestError):
        return None
