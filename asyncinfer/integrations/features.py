"""What an engine supports, as far as it is known before a request."""

from __future__ import annotations

from functools import cache

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.providers.features import Feature, features

_LOCAL = frozenset({Feature.IMAGES, Feature.IMAGE_URLS})


@cache
def engine_features(engine: type[BaseInferenceEngine]) -> frozenset[Feature]:
    """Return the features that the engines of a class support.

    A model may support less: a model in this process may have no vision, and no tools in its chat template.
    """
    if issubclass(engine, RemoteInferenceEngine):
        return frozenset(features(engine.provider()))
    supported = engine.get_supported_params()
    found = {Feature.TOOLS} if "tool_choice" in supported else set[Feature]()
    found |= {Feature.JSON_SCHEMA} if "guided_decoding" in supported else set[Feature]()
    return frozenset(found | _LOCAL) if issubclass(engine, LocalInferenceEngine) else frozenset(found)
