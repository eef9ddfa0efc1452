"""How the servers that speak OpenAI's chat completions differ from each other, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Files(Enum):
    """How an API takes images, or documents. A value says so of the others."""

    NONE = "not at all"
    INLINE = "by path or as bytes, not by URL"
    ALL = "by path, by URL and as bytes"


class Schemas(Enum):
    """How an API is told of a JSON schema: not at all; as `json_schema`; or, as older servers, beside `json_object`."""

    NONE = "none"
    NAMED = "json_schema"
    BARE = "json_object"


class Patterns(Enum):
    """How an API is told of a regular expression, and of choices.

    VLLM: in its field `structured_outputs`. SGLANG: in its field `regex`. TOGETHER: as a `response_format` of
    type `regex`. FIREWORKS: as one of type `grammar`, which holds choices and no regular expression.
    """

    NONE = "none"
    VLLM = "structured_outputs"
    SGLANG = "regex"
    TOGETHER = "response_format regex"
    FIREWORKS = "response_format grammar"


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a server differs from OpenAI.

    Of parameters: `token_limit` is the field that bounds the answer. `extensions`: our parameters that it takes beyond
    OpenAI's, under the same name. `unsupported`: those of OpenAI's that it does not take, or takes and does not heed;
    `models_lack`: those that models are not told of whose names begin so.
    `user`: the field for the end user's id. `adapter`: the field that names a LoRA adapter; `model` where
    it takes the base model's place. `template_kwargs`: it passes a field of that name to the chat template.
    `reasoning_models`: the beginnings of the names of models that refuse what steers the sampler.

    Of guided decoding: `schemas`, `patterns`; `schemas_may_be_old`: only its errors tell; `flat_schemas`: schemas,
    those of tools too, must hold no references.

    Of messages: `images`, `documents`; `any_media`: an image's URL may hold a document, and a document's URL goes as
    audio of its media type, as Vertex has it. `reasoning`: the key under which an earlier answer's reasoning is sent
    back; `passthrough`: the keys of an answer that go back as they came, and instead of the reasoning.
    """

    token_limit: str = "max_tokens"
    extensions: frozenset[str] = frozenset()
    unsupported: frozenset[str] = frozenset()
    models_lack: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    user: str | None = "user"
    adapter: str | None = None
    template_kwargs: bool = False
    reasoning_models: tuple[str, ...] = ()
    schemas: Schemas = Schemas.NAMED
    patterns: Patterns = Patterns.NONE
    schemas_may_be_old: bool = False
    flat_schemas: bool = False
    images: Files = Files.ALL
    documents: Files = Files.INLINE
    any_media: bool = False
    reasoning: str | None = None
    passthrough: frozenset[str] = frozenset()


NO_QUIRKS = Quirks()
