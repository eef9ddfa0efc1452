"""What a chat model can do, as LangChain's model profiles say it.

Source: `langchain_core.language_models.model_profile` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from langchain_core.language_models import ModelProfile

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.features import engine_features
from asyncinfer.providers.features import Feature


def profile_of(engine: BaseInferenceEngine) -> ModelProfile:
    """Return the features that are known before a request: those that the engine supports or lacks with every model.

    Whether a model reads images is not known. So the profile mentions images only if the engine cannot send them.
    """
    found = engine_features(type(engine))
    profile = ModelProfile(
        tool_calling=Feature.TOOLS in found,
        tool_choice=Feature.TOOLS in found,
        structured_output=Feature.JSON_SCHEMA in found,
        audio_inputs=False,
        video_inputs=False,
    )
    if Feature.IMAGES not in found:
        profile["image_inputs"] = False
    if Feature.IMAGE_URLS not in found:
        profile["image_url_inputs"] = False
    if Feature.PDF not in found:
        profile["pdf_inputs"] = False
    if (longest := engine.settings.model.model_max_length) is not None:
        profile["max_input_tokens"] = longest
    return profile
