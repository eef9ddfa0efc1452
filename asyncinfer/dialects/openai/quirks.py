"""The differences between servers that speak OpenAI's chat completions, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from asyncinfer.dialects.media import IMAGES
from asyncinfer.types.message import Role

# Name prefixes of OpenAI's reasoning models.
OPENAI_REASONING_MODELS = ("o1", "o3", "o4", "gpt-5", "gpt-6")


class Files(Enum):
    """How an API accepts images or documents. The values are texts for error messages."""

    NONE = "not at all"
    INLINE = "by path or as bytes, not by URL"
    ALL = "by path, by URL and as bytes"


class DocumentForm(Enum):
    """The content part that holds a document.

    FILE: OpenAI's `file`. MEDIA: the part for images if the document's data is sent, and the part for audio if its URL
    is sent, as Vertex requires. URL: Mistral's `document_url`, for data and URLs.
    """

    FILE = "file"
    MEDIA = "image_url, input_audio"
    URL = "document_url"


class Schemas(Enum):
    """How an API accepts a JSON schema: not at all; as `json_schema`; or next to `json_object`, as older servers do."""

    NONE = "none"
    NAMED = "json_schema"
    BARE = "json_object"


class Patterns(Enum):
    """How an API accepts a regular expression, and choices.

    VLLM: in the field `structured_outputs`. SGLANG: in the field `regex`. TOGETHER: as a `response_format` of type
    `regex`. FIREWORKS: as a `response_format` of type `grammar`, which supports choices but no regular expressions.
    LLAMACPP: in the field `grammar`, with the same limit.
    """

    NONE = "none"
    VLLM = "structured_outputs"
    SGLANG = "regex"
    TOGETHER = "response_format regex"
    FIREWORKS = "response_format grammar"
    LLAMACPP = "grammar"


def effort_field(effort: str) -> dict[str, Any]:
    """Return the field of OpenAI's chat completions for `reasoning_effort`."""
    return {"reasoning_effort": effort}


def effort_as_variable(effort: str) -> dict[str, Any]:
    """Return the effort as a variable of the chat template, for servers that have no field for it."""
    return {"chat_template_kwargs": {"reasoning_effort": effort}}


def effort_or_no_thinking(effort: str) -> dict[str, Any]:
    """Return DeepSeek's fields: no effort is a setting of its own."""
    return {"thinking": {"type": "disabled"}} if effort == "none" else effort_field(effort)


def _unchanged(schema: dict[str, Any]) -> dict[str, Any]:
    return schema


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a server differs from OpenAI.

    Parameters:
        token_limit: The field for the largest number of tokens in the answer.
        extensions: Parameters of this package that the server supports beyond OpenAI's, under the same names.
        unsupported: OpenAI's parameters that the server refuses or ignores.
        unsupported_by_prefix: Further unsupported parameters, by the prefix of a model's name. The longest prefix that
            matches counts.
        seed: The field for the seed.
        repetition_penalty: The field for the repetition penalty.
        no_top_k: The value of `top_k` with which tokens are sampled from all.
        effort: Returns the fields for `reasoning_effort`.
        user: The field for the id of the end user, or None.
        adapter: The field for the name of a LoRA adapter. `model` if the adapter replaces the name of the base model.
        template_kwargs: The server passes the field `chat_template_kwargs` to the chat template.
        counts_logprobs: The field `logprobs` is the number of the most likely tokens, not a boolean.
        reasoning_models: Name prefixes of models that refuse sampling parameters.
        hides_reasoning_models: The name of a model may not show that it is a reasoning model, because users choose the
            names. Only errors show it.
        stream_usage: A stream reports usage only if the request asks for it.

    Tools:
        named_tool_choice: `tool_choice` may name a function. Otherwise it may only be `auto`, `none` or `required`.
        needs_parameters: A function must have a schema of its parameters, even if it has no parameters.
        call_id_length: The ids of tool calls must have this number of letters and digits; None: any id is accepted.

    Guided decoding:
        schemas: How the server accepts a JSON schema.
        patterns: How the server accepts a regular expression and choices.
        may_lack_json_schema: Some versions of the server support only `json_object`. Only their errors show it.
        inline_refs: Schemas, including those of tools, must not contain references.
        schema_transform: Makes the schemas that the server accepts, including those of tools.
        strict_subset: OpenAI's limits apply to schemas: few keywords in the strict mode, and no union at the top of the
            schema of a tool.
        object_root: In strict mode, the schema of an answer must describe an object, without a union at its top.
        guides_with_tools: A request may have tools, and a schema for the answer that calls no tool.

    Messages:
        images: How the server accepts images.
        image_types: The media types of the images that the server accepts.
        documents: How the server accepts documents.
        document_form: The content part that holds a document.
        reasoning: The key under which the reasoning of an earlier answer is sent back; None: it is not sent back.
        reasoning_part: The reasoning of an earlier answer is sent back as a content part, Mistral's `thinking`.
        name_roles: The roles whose messages may have a name; None: all.
        merges_messages: Adjacent messages of one role are sent as one message.
        blank_texts: The server accepts texts of white space only.
        extra_keys: The additional keys of messages and texts are sent, such as `cache_control` and `prefix`.
        passthrough: The keys of an answer that are sent back unchanged, in place of the reasoning.
    """

    token_limit: str = "max_tokens"
    extensions: frozenset[str] = frozenset()
    unsupported: frozenset[str] = frozenset()
    unsupported_by_prefix: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    seed: str = "seed"
    repetition_penalty: str = "repetition_penalty"
    no_top_k: int = 0
    effort: Callable[[str], dict[str, Any]] = effort_field
    user: str | None = "user"
    adapter: str | None = None
    template_kwargs: bool = False
    counts_logprobs: bool = False
    reasoning_models: tuple[str, ...] = ()
    hides_reasoning_models: bool = False
    stream_usage: bool = True
    named_tool_choice: bool = True
    needs_parameters: bool = False
    call_id_length: int | None = None
    schemas: Schemas = Schemas.NAMED
    patterns: Patterns = Patterns.NONE
    may_lack_json_schema: bool = False
    inline_refs: bool = False
    schema_transform: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    strict_subset: bool = True
    object_root: bool = False
    guides_with_tools: bool = False
    images: Files = Files.ALL
    image_types: frozenset[str] = IMAGES
    documents: Files = Files.INLINE
    document_form: DocumentForm = DocumentForm.FILE
    reasoning: str | None = None
    reasoning_part: bool = False
    name_roles: frozenset[Role] | None = None
    passthrough: frozenset[str] = frozenset()
    merges_messages: bool = False
    blank_texts: bool = True
    extra_keys: bool = True

    @property
    def has_guides(self) -> bool:
        """Whether the server can constrain an answer to a schema, a regular expression or choices."""
        return self.schemas is not Schemas.NONE or self.patterns is not Patterns.NONE

    def supported(self, parameters: frozenset[str]) -> frozenset[str]:
        """Return those of the generation parameters that the server supports."""
        return parameters - self.unsupported - (frozenset() if self.has_guides else {"guided_decoding"})


NO_QUIRKS = Quirks()
