"""The profile of an engine: the features that pydantic-ai may use.

Source: `pydantic_ai.profiles` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from pydantic_ai.messages import DocumentMediaType
from pydantic_ai.output import StructuredOutputMode
from pydantic_ai.profiles import ModelProfile, merge_profile
from pydantic_ai.profiles.openai import openai_model_profile

from asyncinfer.config import InferenceEngineType
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.integrations.features import engine_features
from asyncinfer.providers.features import Feature

_TEXT_FILES: frozenset[DocumentMediaType] = frozenset({"text/plain", "text/csv", "text/html", "text/markdown"})
_FILES: frozenset[DocumentMediaType] = frozenset({*_TEXT_FILES, "application/pdf"})
# The APIs that accept system messages anywhere in a conversation.
_INLINE_SYSTEM_PROMPTS = frozenset({InferenceEngineType.OPENAI})
# How pydantic-ai names the systems that sign the thinking of a model. Other engines have their own name in lower case.
_SYSTEMS: dict[str, str] = {
    InferenceEngineType.GOOGLE_GEMINI: "google",
    InferenceEngineType.GOOGLE_VERTEX: "google-cloud",
    InferenceEngineType.HUGGING_FACE_ROUTER: "huggingface",
}
# The APIs that accept `cache_control` in content items.
_CACHE_MARKS = frozenset({"anthropic", "bedrock", "openrouter"})


def system_of(engine: BaseInferenceEngine) -> str:
    """Return the name of the system that answers, such as `openai`. Signed data goes back only to the same system."""
    name = str(engine.engine_type)
    return _SYSTEMS.get(name, name.lower())


def marks_cache(system: str) -> bool:
    """Return whether a system accepts cache settings within messages."""
    return system in _CACHE_MARKS


def has_effort(engine: BaseInferenceEngine) -> bool:
    """Return whether the model of an engine has the setting `reasoning_effort`, as far as it is known."""
    return bool(_thinking(engine).get("supports_thinking"))


def profile_of(engine: BaseInferenceEngine) -> ModelProfile:
    """Return the profile of an engine."""
    found = engine_features(type(engine))
    is_local = isinstance(engine, LocalInferenceEngine)
    profile = ModelProfile(
        supports_tools=Feature.TOOLS in found,
        supports_json_schema_output=Feature.JSON_SCHEMA in found,
        default_structured_output_mode=_output_mode(found, is_local),
        supports_image_input=Feature.IMAGES in found,
        supports_document_input=True,
        supported_document_media_types=_FILES if Feature.PDF in found else _TEXT_FILES,
        supports_audio_file_input=False,
        supports_video_input=False,
        supports_inline_system_prompts=engine.engine_type in _INLINE_SYSTEM_PROMPTS,
    )
    return merge_profile(profile, _thinking(engine))


def _output_mode(found: frozenset[Feature], is_local: bool) -> StructuredOutputMode:
    """Return how an agent gets structured output by default.

    A model in this process follows a schema reliably; many of them have no tools in their chat template.
    """
    if Feature.JSON_SCHEMA in found and (is_local or Feature.TOOLS not in found):
        return "native"
    return "tool" if Feature.TOOLS in found else "prompted"


def _thinking(engine: BaseInferenceEngine) -> ModelProfile:
    if engine.engine_type != InferenceEngineType.OPENAI:
        return ModelProfile()
    known = openai_model_profile(engine.settings.model.model_name) or ModelProfile()
    return ModelProfile(
        supports_thinking=known.get("supports_thinking", False),
        thinking_always_enabled=known.get("thinking_always_enabled", False),
        thinking_enabled_by_default=known.get("thinking_enabled_by_default", False),
    )
